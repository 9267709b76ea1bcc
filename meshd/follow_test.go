// What a node can not make the server say in its place.
package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// Tns serves; what it hears comes out of the channel.
func (u *universe) listen(s *settings, subjects ...string) chan *nats.Msg {
	pair := u.node("tns", "tns")
	link := must[*nats.Conn](u.t)(u.connect(s, &pair))
	heard := make(chan *nats.Msg, 16)
	for _, subject := range subjects {
		must[*nats.Subscription](u.t)(link.ChanSubscribe(subject, heard))
	}
	if err := link.Flush(); err != nil {
		u.t.Fatal(err)
	}
	return heard
}

func (u *universe) entries(e *elder, subject string) int {
	var is struct {
		State struct {
			Subjects map[string]int `json:"subjects"`
		} `json:"state"`
	}
	filter := map[string]string{"subjects_filter": subject}
	stream := strings.Split(subject, ".")[1]
	if err := ask(e.link, "$JS.API.STREAM.INFO."+stream, time.Second, filter, &is); err != nil {
		u.t.Fatal(err)
	}
	return is.State.Subjects[subject]
}

func TestNobodyLetsTheServerDeliverToAnother(t *testing.T) {
	u := newUniverse(t)
	s := u.settings(1, 1)
	e := u.start(s)[0]
	heard := u.listen(s[0], "ask.tns.any.*", "tell.*.*", "to.tns.>")

	// With the right to make consumers a node speaks as tns wherever it may listen, since nats-server
	// delivers where somebody has subscribed just that subject: this is why no role has it.
	makerPair := u.node("maker", "maker")
	maker := must[*nats.Conn](t)(u.connect(s[0], &makerPair, nats.CustomInboxPrefix("re.maker")))
	must[*nats.Msg](t)(maker.Request("log.jobs.maker.maker", []byte("forged"), time.Second))
	must[*nats.Subscription](t)(maker.SubscribeSync("tell.beat.tns"))
	must[*nats.Msg](t)(maker.Request("$JS.API.CONSUMER.CREATE.jobs.c.log.jobs.>", []byte(`{"stream_name":"jobs",
		"config":{"name":"c","deliver_subject":"tell.beat.tns","ack_policy":"none","filter_subject":"log.jobs.>"}}`), time.Second))
	select {
	case m := <-heard:
		if string(m.Data) != "forged" {
			t.Fatal(string(m.Data))
		}
	case <-time.After(2 * time.Second):
		t.Fatal("nats-server checks where consumers deliver: this test shows nothing any more")
	}
	maker.Close()
	must[*nats.Msg](t)(e.link.Request("$JS.API.CONSUMER.DELETE.jobs.c", nil, time.Second))

	pair := u.node("monkey", "monkey")
	monkey := must[*nats.Conn](t)(u.connect(s[0], &pair, nats.CustomInboxPrefix("re.monkey")))
	must[*nats.Msg](t)(monkey.Request("log.jobs.monkey.monkey", []byte("own"), time.Second))
	if _, err := monkey.Request("$JS.API.CONSUMER.CREATE.jobs.m.log.jobs.>",
		[]byte(`{"stream_name":"jobs","config":{"name":"m","deliver_subject":"to.monkey.x"}}`), 200*time.Millisecond); err == nil {
		t.Error("a consumer was made without meshd")
	}
	for _, question := range []string{
		`{"deliver":"ask.tns.any.tns","name":"a","from":1}`,
		`{"deliver":"tell.beat.tns","name":"a","from":1}`,
		`{"deliver":"log.registry.tns.tns","name":"a","from":1}`,
		`{"deliver":"to.tns.x","name":"a","from":1}`,
		`{"deliver":"to.monkey","name":"a","from":1}`,
		`{"deliver":"to.monkey.","name":"a","from":1}`,
		`{"deliver":"to.monkey.>","name":"a","from":1}`,
		`{"deliver":"to.monkey.*","name":"a","from":1}`,
		`{"deliver":"to.monkey.x y","name":"a","from":1}`,
		`{"deliver":"to.monkey.x","name":"a.b","from":1}`,
		`{"deliver":"to.monkey.x","name":"","from":1}`,
		`{"deliver":"to.monkey.x","name":"a"}`,
		`{"deliver":"to.monkey.x","name":"a","from":1,"mark":true}`,
		`{"deliver":"to.monkey.x","name":"a","from":-1}`,
		`{"deliver":"to.monkey.x","name":"a","snapshot":"0123456789abcde>"}`,
		`{"deliver":"to.monkey.x","name":"a","from":1,"filter_subject":"log.registry.>"}`,
		`{"deliver":"to.monkey.x","name":"a","from":1}{}`, `[]`, ``,
	} {
		m := must[*nats.Msg](t)(monkey.Request("follow.jobs.monkey", []byte(question), time.Second))
		if !bytes.Contains(m.Data, []byte(`"error":{"code":400`)) {
			t.Errorf("%s: %s", question, m.Data)
		}
	}
	// The answer goes to nobody else either.
	for _, reply := range []string{"log.registry.tns.tns", "ask.tns.any.tns", "re.tns.x", "to.tns.x"} {
		if err := monkey.PublishRequest("follow.jobs.monkey", reply, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	// And what it asks itself it can not answer into another's log.
	must[*nats.Subscription](t)(monkey.SubscribeSync("tell.beat.tns"))
	self := must[*nats.Subscription](t)(monkey.SubscribeSync("ask.*.monkey.*"))
	_ = monkey.PublishRequest("ask.tns.monkey.monkey", "log.registry.tns.tns", nil)
	if m := must[*nats.Msg](t)(self.NextMsg(time.Second)); m.Reply != "log.registry.tns.tns" || m.Respond([]byte("forged")) != nil {
		t.Error("not asked", m.Reply)
	}
	if monkey.Flush() != nil {
		t.Error("the link ended")
	}
	time.Sleep(100 * time.Millisecond)
	if u.entries(e, "log.registry.tns.tns") != 0 || len(heard) > 0 {
		t.Error("a monkey spoke as tns")
	}
}

func TestFollowDeliversOwnLogs(t *testing.T) {
	u := newUniverse(t)
	s := u.settings(1, 1)
	u.start(s)
	pair := u.node("monkey", "monkey")
	monkey := must[*nats.Conn](t)(u.connect(s[0], &pair, nats.CustomInboxPrefix("re.monkey")))
	for n := range 5 {
		must[*nats.Msg](t)(monkey.Request("log.jobs.monkey.monkey", fmt.Appendf(nil, "%d", n), time.Second))
	}
	got := must[*nats.Subscription](t)(monkey.SubscribeSync("to.monkey.jobs.1"))
	start := time.Now()
	m := must[*nats.Msg](t)(monkey.Request("follow.jobs.monkey", []byte(`{"deliver":"to.monkey.jobs.1","name":"a","from":3}`), time.Second))
	t.Logf("made in %v", time.Since(start))
	if !bytes.Contains(m.Data, []byte(`"num_pending":3`)) && !bytes.Contains(m.Data, []byte(`"num_pending":0`)) {
		t.Fatalf("%s", m.Data)
	}
	for _, expected := range []string{"2", "3", "4"} {
		if m := must[*nats.Msg](t)(got.NextMsg(time.Second)); string(m.Data) != expected || m.Subject != "log.jobs.monkey.monkey" {
			t.Fatal(m.Subject, string(m.Data))
		}
	}
	// A name that is taken stays with who has it.
	m = must[*nats.Msg](t)(monkey.Request("follow.jobs.monkey", []byte(`{"deliver":"to.monkey.jobs.2","name":"a","from":1}`), time.Second))
	if !bytes.Contains(m.Data, []byte(`"error"`)) {
		t.Errorf("%s", m.Data)
	}
	for _, question := range []string{`"mark":true`, `"snapshot":"0123456789abcdef"`} {
		m = must[*nats.Msg](t)(monkey.Request("follow.jobs.monkey",
			fmt.Appendf(nil, `{"deliver":"to.monkey.jobs.3","name":"n%d",%s}`, len(question), question), time.Second))
		if !bytes.Contains(m.Data, []byte(`"num_pending":0`)) {
			t.Errorf("%s", m.Data)
		}
	}
}
