// The streams of the universe: made or changed to what the settings say, and who leads them.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	askTimeoutMin = 100 * time.Millisecond // of the first question, doubled until
	askTimeoutMax = 2 * time.Second
	retryEvery    = 20 * time.Millisecond
	leadersEvery  = 500 * time.Millisecond
	tipsEvery     = 2 * time.Second // also when nothing was added
	duplicatesFor = 2 * time.Minute
)

// One question to the JetStream API; an error also when the answer holds one.
func ask(link *nats.Conn, subject string, timeout time.Duration, question, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	reply, err := link.Request(subject, body, timeout)
	if err != nil {
		return err
	}
	var failed server.ApiResponse
	if err := json.Unmarshal(reply.Data, &failed); err != nil {
		return err
	}
	if failed.Error != nil {
		return failed.Error
	}
	return json.Unmarshal(reply.Data, answer)
}

// What we decide of a stream; the rest stays. Replicas only grow: settings of one elder may be older
// than those of the others.
func configure(c server.StreamConfig, s streamSettings, replicas int) server.StreamConfig {
	c.Name, c.Subjects = s.Name, s.Subjects
	c.Retention, c.Discard, c.Storage = server.LimitsPolicy, server.DiscardOld, server.FileStorage
	c.MaxMsgs, c.MaxBytes, c.MaxMsgsPer, c.MaxMsgSize, c.MaxConsumers = -1, -1, -1, -1, -1
	c.MaxAge, c.Duplicates, c.Compression = 0, duplicatesFor, server.NoCompression
	c.AllowDirect, c.DenyDelete, c.DenyPurge = false, true, false
	c.Replicas = max(replicas, c.Replicas)
	return c
}

// Any of the elders may be the one that makes it: what is there already as it should be is left alone.
func streamSet(link *nats.Conn, s streamSettings, replicas int, timeout time.Duration) error {
	var is server.StreamInfo
	err := ask(link, "$JS.API.STREAM.INFO."+s.Name, timeout, nil, &is)
	if server.IsNatsErr(err, server.JSStreamNotFoundErr) {
		wanted := configure(server.StreamConfig{}, s, replicas)
		return ask(link, "$JS.API.STREAM.CREATE."+s.Name, askTimeoutMax, wanted, &is)
	}
	if err != nil {
		return err
	}
	wanted := configure(is.Config, s, replicas)
	is.Config.Subjects = slices.Clone(is.Config.Subjects)
	if reflect.DeepEqual(wanted, is.Config) {
		return nil
	}
	return ask(link, "$JS.API.STREAM.UPDATE."+s.Name, askTimeoutMax, wanted, &is)
}

// Until each stream is there; says why not every few seconds.
func streamsSet(srv *server.Server, link *nats.Conn, s *settings, log *events, done <-chan struct{}) bool {
	said, timeout := time.Now(), askTimeoutMin
	for _, stream := range s.Streams {
		for {
			err := errors.New("the elders have no leader")
			if srv.JetStreamIsCurrent() {
				err = streamSet(link, stream, s.Replicas, timeout)
			}
			if err == nil {
				break
			}
			if errors.Is(err, nats.ErrTimeout) {
				timeout = min(2*timeout, askTimeoutMax)
			}
			if time.Since(said) > 5*time.Second {
				log.say("warn", fmt.Sprintf("stream %s: %v", stream.Name, err))
				said = time.Now()
			}
			select {
			case <-done:
				return false
			case <-time.After(retryEvery):
			}
		}
	}
	return true
}

// Tells the nodes how long the logs are that this elder leads: a consumer may stand on a replica that
// fell behind for good, and beats all the same.
type tips struct {
	last map[string]uint64
	said time.Time
}

func (t *tips) tell(link *nats.Conn, now map[string]uint64) {
	all := time.Since(t.said) >= tipsEvery
	if all {
		t.said = time.Now()
	}
	for name, last := range now {
		if all || t.last[name] != last {
			link.Publish("tip."+name, []byte(strconv.FormatUint(last, 10)))
		}
	}
	t.last = now
}

// The leader of each stream, "" without one, and how long those are that we lead. What another elder
// alone keeps is asked of it.
func leaders(srv *server.Server, link *nats.Conn, s *settings) (map[string]string, map[string]uint64) {
	found, lengths := map[string]string{}, map[string]uint64{}
	here, err := srv.JszAccount(&server.JSzOptions{Account: server.DEFAULT_GLOBAL_ACCOUNT, Streams: true})
	for at := 0; err == nil && at < len(here.Streams); at++ {
		if stream := here.Streams[at]; stream.Cluster == nil {
			found[stream.Name] = s.Name
		} else {
			found[stream.Name] = stream.Cluster.Leader
		}
		if stream := here.Streams[at]; found[stream.Name] == s.Name {
			lengths[stream.Name] = stream.State.LastSeq
		}
	}
	for _, stream := range s.Streams {
		if _, known := found[stream.Name]; known {
			continue
		}
		var is server.StreamInfo
		found[stream.Name] = ""
		if ask(link, "$JS.API.STREAM.INFO."+stream.Name, leadersEvery, nil, &is) == nil && is.Cluster != nil {
			found[stream.Name] = is.Cluster.Leader
		}
	}
	return found, lengths
}

// Tells of new leaders, and once that all is ready.
func leadersWatch(srv *server.Server, link *nats.Conn, s *settings, log *events, done <-chan struct{}) {
	told, ready, ends := map[string]string{}, false, tips{}
	for {
		all, lengths := leaders(srv, link, s)
		missing := false
		ends.tell(link, lengths)
		for _, stream := range s.Streams {
			leader := all[stream.Name]
			missing = missing || leader == ""
			if before, known := told[stream.Name]; leader != before || (!known && leader != "") {
				told[stream.Name] = leader
				log.write(event{Event: "leader", Stream: stream.Name, Leader: &leader})
			}
		}
		if !ready && !missing {
			ready = true
			log.write(event{Event: "ready"})
		}
		pause := leadersEvery
		if !ready {
			pause = retryEvery
		}
		select {
		case <-done:
			return
		case <-time.After(pause):
		}
	}
}
