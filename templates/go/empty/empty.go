package lib

import (
	"github.com/taubyte/go-sdk/event"
)

//export empty
func empty(e event.Event) uint32 {
	return 0
}
