// What meshd tells its elder on stdout, one JSON object per line; nats-server's log among it.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	logBurst     = 20 // lines at once,
	logPerSecond = 5  // and from then on
	logBytesMax  = 1000
)

type event struct {
	Event  string  `json:"event"`
	Stream string  `json:"stream,omitempty"`
	Leader *string `json:"leader,omitempty"`
	Level  string  `json:"level,omitempty"`
	Text   string  `json:"text,omitempty"`
}

type events struct {
	mu      sync.Mutex
	out     io.Writer
	tokens  float64
	at      time.Time
	dropped int
}

func (e *events) write(v event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.writeLocked(v)
}

func (e *events) writeLocked(v event) {
	line, _ := json.Marshal(v) // strings only
	_, _ = e.out.Write(append(line, '\n'))
}

// A line of the log, unless there are too many.
func (e *events) say(level, text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	if e.at.IsZero() {
		e.tokens = logBurst
	}
	e.tokens = min(logBurst, e.tokens+now.Sub(e.at).Seconds()*logPerSecond)
	e.at = now
	if e.tokens < 1 && level != "fatal" {
		e.dropped++
		return
	}
	e.tokens--
	if e.dropped > 0 {
		e.writeLocked(event{Event: "log", Level: "warn", Text: fmt.Sprintf("%d lines left out", e.dropped)})
		e.dropped = 0
	}
	if len(text) > logBytesMax {
		text = text[:logBytesMax]
	}
	e.writeLocked(event{Event: "log", Level: level, Text: text})
}

// The rest is nats-server's Logger.
func (e *events) Noticef(string, ...any)    {}
func (e *events) Debugf(string, ...any)     {}
func (e *events) Tracef(string, ...any)     {}
func (e *events) Warnf(f string, v ...any)  { e.server("warn", fmt.Sprintf(f, v...)) }
func (e *events) Errorf(f string, v ...any) { e.server("error", fmt.Sprintf(f, v...)) }
func (e *events) Fatalf(f string, v ...any) {
	e.say("fatal", fmt.Sprintf(f, v...))
	os.Exit(1)
}

// What is as we mean it to be, or so at each start of elders one after the other, is left out.
func (e *events) server(level, text string) {
	for _, start := range []string{
		"Clients that are not using \"TLS Handshake First\"", "TLS certificate chain and hostname of solicited",
		"Metalayer blocking snapshot", "Waiting for routing", "JetStream has not established contact",
		"JetStream is not current", "Error trying to connect to route (attempt 1)",
	} {
		if strings.HasPrefix(text, start) {
			return
		}
	}
	e.say(level, text)
}
