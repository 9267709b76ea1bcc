// follow.SHARD.NODE: consumers of the logs are made here, so that a node hears its own only.
//
// Who may make a consumer by itself also chooses where the server publishes what it delivers, which
// nats-server checks against nobody's permissions. So no role may; this asks in its place, with fixed
// settings and a subject that belongs to the node whose name the server has checked.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	followsAtOnce    = 64
	followBytesMax   = 4096
	followTimeout    = 3 * time.Second        // who asks gives up sooner and asks again
	logBeat          = 250 * time.Millisecond // a consumer with nothing to deliver says so
	logInactive      = 30 * time.Second
	snapshotBeat     = time.Second
	snapshotInactive = 10 * time.Second
)

var (
	consumerName = regexp.MustCompile(`^[a-z0-9_-]{1,96}$`)
	deliverRest  = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){0,3}$`)
	snapshotID   = regexp.MustCompile(`^[0-9a-f]{16}$`)
)

// Exactly one of the last three says what is delivered: the log's entries from a number on, all that
// stands where snapshots are marked (a reader takes the newest that is a mark), one's pieces.
type followRequest struct {
	Deliver  string  `json:"deliver"`
	Name     string  `json:"name"`
	From     *uint64 `json:"from"`
	Mark     bool    `json:"mark"`
	Snapshot string  `json:"snapshot"`
}

func followParse(text []byte) (*followRequest, error) {
	r := &followRequest{}
	if len(text) > followBytesMax {
		return nil, errors.New("too large")
	}
	in := json.NewDecoder(bytes.NewReader(text))
	in.DisallowUnknownFields()
	if err := in.Decode(r); err != nil {
		return nil, errors.New("not the JSON that belongs here")
	}
	if _, err := in.Token(); err != io.EOF {
		return nil, errors.New("more than one object")
	}
	return r, nil
}

// The consumer that `node` gets.
func followConsumer(shard, node string, text []byte) (*server.CreateConsumerRequest, error) {
	r, err := followParse(text)
	if err != nil {
		return nil, err
	}
	rest, own := strings.CutPrefix(r.Deliver, "to."+node+".")
	if !own || !deliverRest.MatchString(rest) {
		return nil, errors.New("deliver is not below to." + node)
	}
	if !consumerName.MatchString(r.Name) {
		return nil, errors.New("name has other characters than a-z 0-9 _ -")
	}
	c := server.ConsumerConfig{Name: r.Name, DeliverSubject: r.Deliver, AckPolicy: server.AckNone,
		ReplayPolicy: server.ReplayInstant, MaxDeliver: 1, FlowControl: true, Replicas: 1, MemoryStorage: true,
		DeliverPolicy: server.DeliverAll, Heartbeat: snapshotBeat, InactiveThreshold: snapshotInactive}
	switch {
	case r.From != nil && !r.Mark && r.Snapshot == "":
		c.FilterSubject = "log." + shard + ".>"
		c.DeliverPolicy, c.OptStartSeq = server.DeliverByStartSequence, max(*r.From, 1)
		c.Heartbeat, c.InactiveThreshold = logBeat, logInactive
	case r.From == nil && r.Mark && r.Snapshot == "":
		c.FilterSubject = "snap." + shard + ".done"
	case r.From == nil && !r.Mark && snapshotID.MatchString(r.Snapshot):
		c.FilterSubject = "snap." + shard + "." + r.Snapshot + ".*"
	default:
		return nil, errors.New("one of from, mark and snapshot belongs here")
	}
	// Never another's: what has this name already stays as it is.
	return &server.CreateConsumerRequest{Stream: shard, Config: c, Action: server.ActionCreate}, nil
}

func followRefusal(code int, err error) []byte {
	answer, _ := json.Marshal(server.ApiResponse{Error: &server.ApiError{Code: code, Description: err.Error()}})
	return answer
}

// The JetStream API's own answer, or a refusal in its shape.
func followAnswer(link *nats.Conn, s *settings, subject string, text []byte) []byte {
	parts := strings.Split(subject, ".") // follow.SHARD.NODE
	if len(parts) != 3 || !slices.ContainsFunc(s.Streams, func(c streamSettings) bool { return c.Name == parts[1] }) {
		return followRefusal(404, errors.New("no such log"))
	}
	question, err := followConsumer(parts[1], parts[2], text)
	if err != nil {
		return followRefusal(400, err)
	}
	body, err := json.Marshal(question)
	if err != nil {
		return followRefusal(400, err)
	}
	c := question.Config
	reply, err := link.Request("$JS.API.CONSUMER.CREATE."+parts[1]+"."+c.Name+"."+c.FilterSubject, body, followTimeout)
	if err != nil {
		return followRefusal(503, err)
	}
	return reply.Data
}

// Answers on our own connection, which may publish anything: only into the inbox of who asked.
func followServe(link *nats.Conn, s *settings) error {
	slots := make(chan struct{}, followsAtOnce)
	_, err := link.QueueSubscribe("follow.*.*", "follow", func(m *nats.Msg) {
		node := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
		if !strings.HasPrefix(m.Reply, "re."+node+".") {
			return
		}
		select {
		case slots <- struct{}{}:
			go func() {
				defer func() { <-slots }()
				_ = m.Respond(followAnswer(link, s, m.Subject, m.Data))
			}()
		default:
			_ = m.Respond(followRefusal(503, errors.New("too many at once")))
		}
	})
	return err
}
