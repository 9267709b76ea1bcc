// The behaviour of meshd with real certificates, real clients and three servers in one process.
package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

func TestMain(m *testing.M) {
	other := raftTimeouts()
	other[5].builtIn++
	if err := raftTune(other, time.Second); err == nil || !strings.Contains(err.Error(), "lostQuorumInterval") {
		fmt.Println("another version's values must be refused:", err)
		os.Exit(1)
	}
	if err := raftTune(raftTimeouts(), 300*time.Millisecond); err != nil || hbInterval != 75*time.Millisecond {
		fmt.Println("the values that this was written for must be accepted:", err, hbInterval)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

type universe struct {
	t      *testing.T
	dir    string
	key    *ecdsa.PrivateKey
	ca     *x509.Certificate
	serial int64
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newUniverse(t *testing.T) *universe {
	u := &universe{t: t, dir: t.TempDir()}
	u.key = must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	u.ca = &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "blackhole"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign}
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, u.ca, u.ca, u.key.Public(), u.key))
	u.ca = must[*x509.Certificate](t)(x509.ParseCertificate(der))
	u.write("ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	u.write("deny", nil)
	return u
}

func (u *universe) path(name string) string { return filepath.Join(u.dir, name) }

func (u *universe) write(name string, text []byte) {
	u.t.Helper()
	if err := os.WriteFile(u.path(name)+".new", text, 0o600); err != nil {
		u.t.Fatal(err)
	}
	if err := os.Rename(u.path(name)+".new", u.path(name)); err != nil {
		u.t.Fatal(err)
	}
}

// A pair NAME.pem, NAME.key for ctau://PATH.
func (u *universe) issue(name, path string, until time.Time) tls.Certificate {
	u.t.Helper()
	u.serial++
	key := must[*ecdsa.PrivateKey](u.t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	c := &x509.Certificate{SerialNumber: big.NewInt(0xa000 + u.serial), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: until, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs:        []*url.URL{must[*url.URL](u.t)(url.Parse("ctau://" + path))}}
	der := must[[]byte](u.t)(x509.CreateCertificate(rand.Reader, c, u.ca, key.Public(), u.key))
	secret := must[[]byte](u.t)(x509.MarshalPKCS8PrivateKey(key))
	u.write(name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
	u.write(name+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return must[tls.Certificate](u.t)(tls.LoadX509KeyPair(u.path(name+".pem"), u.path(name+".key")))
}

func (u *universe) node(name, protocols string) tls.Certificate {
	return u.issue(name, "blackhole/"+name+"/"+protocols, time.Now().Add(time.Hour))
}

type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) has(part string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), part)
}

func until(t *testing.T, what string, limit time.Duration, is func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

func freeAddress(t *testing.T) string {
	l := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	defer l.Close()
	return l.Addr().String()
}

type elder struct {
	*mesh
	s   *settings
	out *lines
}

func (u *universe) settings(count, replicas int) []*settings {
	var routes []string
	for range count {
		routes = append(routes, freeAddress(u.t))
	}
	var all []*settings
	for k := range count {
		name := fmt.Sprintf("elder-%d", k+1)
		u.node(name, "elder")
		s := &settings{Universe: "blackhole", Name: name, Client: freeAddress(u.t), Route: routes[k],
			Store: u.path("store-" + name), ElectionMs: 300, PayloadMax: 8 << 20,
			Certificate: u.path(name + ".pem"), Key: u.path(name + ".key"), Authority: u.path("ca.pem"),
			Deny: u.path("deny"), Replicas: replicas,
			Streams: []streamSettings{{"registry", []string{"log.registry.>", "snap.registry.>"}},
				{"jobs", []string{"log.jobs.>", "snap.jobs.>"}}},
			Roles: map[string]roleSettings{
				"tns": {[]string{"re.*.>", "log.registry.tns.{node}", "log.jobs.tns.{node}",
					"follow.registry.{node}"}, []string{"re.{node}.>", "to.{node}.>", "ask.tns.any.*", "tell.*.*"}},
				"monkey": {[]string{"re.*.>", "ask.tns.*.{node}", "log.jobs.monkey.{node}", "follow.jobs.{node}"},
					[]string{"re.{node}.>", "to.{node}.>", "ask.*.{node}.*", "tell.*.*"}},
				// What no role of ours may.
				"maker":  {[]string{"log.jobs.maker.{node}", "$JS.API.CONSUMER.CREATE.jobs.>"}, []string{"re.{node}.>", "tell.*.*"}},
				"client": {[]string{}, []string{}},
				"elder":  {[]string{}, []string{"re.{node}.>"}},
			}}
		for other, route := range routes {
			if other != k {
				s.Routes = append(s.Routes, route)
			}
		}
		all = append(all, s)
	}
	return all
}

func (u *universe) start(all []*settings) []*elder {
	u.t.Helper()
	var started []*elder
	for _, s := range all {
		e := &elder{s: s, out: &lines{}}
		e.mesh = must[*mesh](u.t)(meshStart(s, &events{out: e.out}))
		u.t.Cleanup(func() { e.server.Shutdown() })
		started = append(started, e)
	}
	for _, e := range started {
		until(u.t, "ready", 15*time.Second, func() bool { return e.out.has(`{"event":"ready"}`) })
	}
	return started
}

func (u *universe) connect(s *settings, pair *tls.Certificate, more ...nats.Option) (*nats.Conn, error) {
	pool := x509.NewCertPool()
	pool.AddCert(u.ca)
	c := &tls.Config{InsecureSkipVerify: true}
	if pair != nil {
		c.Certificates = []tls.Certificate{*pair}
	}
	o := append([]nats.Option{nats.Secure(c), nats.TLSHandshakeFirst(), nats.NoReconnect(),
		nats.CustomInboxPrefix("re.tns"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})}, more...)
	link, err := nats.Connect("tls://"+s.Client, o...)
	if err == nil {
		u.t.Cleanup(link.Close)
		err = link.FlushTimeout(2 * time.Second)
	}
	return link, err
}

// What comes of dialing a route port with this certificate: nil when the server waits for more.
func (u *universe) dialRoute(s *settings, c *tls.Config) error {
	raw := must[net.Conn](u.t)(net.Dial("tcp", s.Route))
	defer raw.Close()
	c.InsecureSkipVerify = true
	link := tls.Client(raw, c)
	if err := link.Handshake(); err != nil {
		return err
	}
	_ = raw.SetDeadline(time.Now().Add(3 * time.Second))
	// An alert or the server's INFO.
	info, err := bufio.NewReader(link).ReadString('\n')
	if err == nil && !strings.HasPrefix(info, "INFO {") {
		err = errors.New(info)
	}
	return err
}

func TestSettingsAreReadStrictly(t *testing.T) {
	u := newUniverse(t)
	good := must[[]byte](t)(json.Marshal(u.settings(3, 3)[0]))
	if err := settingsParse(good, &settings{}); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][3]string{
		{`"deny":`, `"denied":`, "denied"},
		{`"election_ms":300`, `"election_ms":"300"`, "election_ms"},
		{`"election_ms":300`, `"election_ms":99`, "election_ms"},
		{`"universe":"blackhole",`, ``, "universe"},
		{`"universe":"blackhole",`, `"universe":null,`, "universe"},
		{`"replicas":3`, `"replicas":2`, "replicas"},
		{`"name":"elder-1"`, `"name":"elder.1"`, "name"},
		{`"subjects":["log.jobs.\u003e","snap.jobs.\u003e"]`, `"subjects":[]`, "streams[1]"},
	} {
		bad := strings.Replace(string(good), c[0], c[1], 1)
		if err := settingsParse([]byte(bad), &settings{}); err == nil || !strings.Contains(err.Error(), c[2]) {
			t.Errorf("%s: %v", c[1], err)
		}
	}
	if settingsParse(append(good, '{'), &settings{}) == nil {
		t.Error("a second object")
	}
}

func TestOnlyCertificatesOfTheUniverseComeIn(t *testing.T) {
	u, other := newUniverse(t), newUniverse(t)
	all := u.settings(3, 1)
	// The second elder is an impostor with a node's certificate: the first dials it.
	impostor := must[net.Listener](t)(net.Listen("tcp", all[1].Route))
	defer impostor.Close()
	refused := make(chan error, 64)
	node := u.node("tns", "tns")
	go func() {
		for {
			raw, err := impostor.Accept()
			if err != nil {
				return
			}
			link := tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{node}, ClientAuth: tls.RequireAnyClientCert})
			if err = link.Handshake(); err == nil {
				_, err = link.Read(make([]byte, 1))
			}
			refused <- err
			raw.Close()
		}
	}()
	s := all[0]
	first := u.start([]*settings{all[0], all[2]})[0]
	if err := <-refused; err == nil || !first.out.has("tns is no elder") {
		t.Errorf("a node's certificate as the elder that we dial: %v", err)
	}

	own := u.node("self", "tns")
	u2 := &universe{t: t, dir: t.TempDir(), key: own.PrivateKey.(*ecdsa.PrivateKey), ca: own.Leaf}
	bad := map[string]tls.Certificate{
		"foreign":          other.node("tns", "tns"),
		"foreign elder":    other.node("elder-2", "elder"),
		"expired":          u.issue("late", "blackhole/tns/tns", time.Now().Add(-time.Second)),
		"signed by a node": u2.node("elder-2", "elder"),
		"another universe": u.issue("white", "whitehole/tns/tns", time.Now().Add(time.Hour)),
		"a name with dots": u.issue("dots", "blackhole/a.b/tns", time.Now().Add(time.Hour)),
		"anybody":          u.issue("any", "blackhole/any/tns", time.Now().Add(time.Hour)),
		"no node":          u.issue("short", "blackhole/tns", time.Now().Add(time.Hour)),
	}
	for what, pair := range bad {
		if _, err := u.connect(s, &pair); err == nil {
			t.Errorf("client: %s came in", what)
		}
		if err := u.dialRoute(s, &tls.Config{Certificates: []tls.Certificate{pair}}); err == nil {
			t.Errorf("route: %s came in", what)
		}
	}
	if _, err := u.connect(s, nil); err == nil {
		t.Error("client without a certificate came in")
	}
	if err := u.dialRoute(s, &tls.Config{}); err == nil {
		t.Error("route without a certificate came in")
	}
	elder2 := u.node("elder-2", "elder")
	for what, protocols := range map[string]string{"node": "tns", "client": "-", "half an elder": "elder+tns"} {
		pair := u.node("sneaky", protocols)
		if err := u.dialRoute(s, &tls.Config{Certificates: []tls.Certificate{pair}}); err == nil {
			t.Errorf("route: %s came in", what)
		}
	}
	if unknown := u.node("odd", "tns+odd"); true {
		if _, err := u.connect(s, &unknown); err == nil {
			t.Error("client with an unknown protocol came in")
		}
	}
	if err := u.dialRoute(s, &tls.Config{Certificates: []tls.Certificate{elder2}, MaxVersion: tls.VersionTLS12}); err == nil {
		t.Error("TLS 1.2 came in")
	}
	if err := u.dialRoute(s, &tls.Config{Certificates: []tls.Certificate{elder2}}); err != nil {
		t.Errorf("an elder as a route: %v", err)
	}
	for _, pair := range []tls.Certificate{node, elder2, u.node("dreamer", "-"), u.issue("at", "blackhole/tns@blackhole/tns", time.Now().Add(time.Hour))} {
		if _, err := u.connect(s, &pair); err != nil {
			t.Errorf("client %s: %v", pair.Leaf.URIs[0], err)
		}
	}
	for _, port := range []string{s.Client, s.Route} {
		raw := must[net.Conn](t)(net.Dial("tcp", port))
		_ = raw.SetDeadline(time.Now().Add(200 * time.Millisecond))
		if n, _ := raw.Read(make([]byte, 1)); n != 0 {
			t.Errorf("%s speaks before TLS", port)
		}
		raw.Close()
	}
}

func TestPermissionsHold(t *testing.T) {
	u := newUniverse(t)
	s := u.settings(1, 1)
	u.start(s)
	denied := make(chan error, 16)
	heard := nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err })
	tnsPair, monkeyPair, clientPair := u.node("tns", "tns"), u.node("monkey", "monkey"), u.node("client", "-")
	tns := must[*nats.Conn](t)(u.connect(s[0], &tnsPair, heard))
	monkey := must[*nats.Conn](t)(u.connect(s[0], &monkeyPair, heard, nats.CustomInboxPrefix("re.monkey")))
	client := must[*nats.Conn](t)(u.connect(s[0], &clientPair, heard))
	must[*nats.Subscription](t)(tns.QueueSubscribe("ask.tns.any.*", "tns", func(m *nats.Msg) {
		_ = m.Respond([]byte("one"))
	}))
	if err := tns.Flush(); err != nil {
		t.Fatal(err)
	}
	if m := must[*nats.Msg](t)(monkey.Request("ask.tns.any.monkey", nil, time.Second)); string(m.Data) != "one" {
		t.Fatal(string(m.Data))
	}
	expect := func(what string) {
		t.Helper()
		select {
		case err := <-denied:
			if !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("%s: %v", what, err)
			}
		case <-time.After(time.Second):
			t.Errorf("%s was allowed", what)
		}
	}
	for _, c := range []struct {
		link    *nats.Conn
		subject string
	}{
		{monkey, "ask.tns.any.tns"}, {monkey, "log.registry.tns.monkey"}, {monkey, "$JS.API.STREAM.LIST"},
		{tns, "log.registry.tns.other"}, {tns, "to.tns.x"}, {tns, "$JS.ACK.jobs.x"},
		{tns, "follow.registry.monkey"}, {tns, "follow.jobs.tns"}, {tns, "$JS.API.CONSUMER.CREATE.registry.c.log.registry.>"}, {tns, "$SYS.REQ.SERVER.PING"},
		{client, "x"},
	} {
		if err := c.link.Publish(c.subject, nil); err != nil {
			t.Fatal(err)
		}
		expect("to publish " + c.subject)
	}
	for _, subject := range []string{"re.tns.>", ">", "$SYS.>", "log.>"} {
		must[*nats.Subscription](t)(monkey.SubscribeSync(subject))
		expect("to subscribe " + subject)
	}
	must[*nats.Subscription](t)(client.SubscribeSync("re.client.>"))
	expect("a role that may nothing")
	if m := must[*nats.Msg](t)(tns.Request("log.registry.tns.tns", []byte("x"), time.Second)); !strings.Contains(string(m.Data), `"seq":1`) {
		t.Errorf("a commit: %s", m.Data)
	}
}

func TestDenyListAndExpiryAreLive(t *testing.T) {
	u := newUniverse(t)
	s := u.settings(1, 1)
	u.start(s)
	a, b := u.node("tns", "tns"), u.node("monkey", "monkey")
	soon := u.issue("soon", "blackhole/soon/tns", time.Now().Add(2*time.Second))
	first := must[*nats.Conn](t)(u.connect(s[0], &a))
	second := must[*nats.Conn](t)(u.connect(s[0], &b))
	third := must[*nats.Conn](t)(u.connect(s[0], &soon))
	u.write("deny", fmt.Appendf(nil, "# revoked\n%x\n", a.Leaf.SerialNumber))
	until(t, "the denied serial is gone", time.Second, first.IsClosed)
	if _, err := u.connect(s[0], &a); err == nil {
		t.Error("the denied serial came again")
	}
	u.write("deny", []byte("what is this line\n"))
	time.Sleep(2 * watchEvery)
	if _, err := u.connect(s[0], &a); err == nil {
		t.Error("a damaged list let the denied in")
	}
	if second.IsClosed() {
		t.Error("the other went as well")
	}
	if err := os.Remove(u.path("deny")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * watchEvery)
	if _, err := u.connect(s[0], &a); err == nil {
		t.Error("a list that is gone let the denied in")
	}
	if _, err := gateOpen(s[0], "", &events{out: &lines{}}); !errors.Is(err, os.ErrNotExist) {
		t.Error("a start without a list:", err)
	}
	u.write("deny", []byte("node monkey@blackhole\n"))
	until(t, "the denied node is gone", time.Second, second.IsClosed)
	if _, err := u.connect(s[0], &a); err != nil {
		t.Error("no longer denied:", err)
	}
	until(t, "the expired is gone", 3*time.Second, third.IsClosed)
}

func TestCertificateRotatesLive(t *testing.T) {
	u := newUniverse(t)
	s := u.settings(1, 1)
	u.start(s)
	pair := u.node("tns", "tns")
	serial := func() string {
		link := must[*nats.Conn](t)(u.connect(s[0], &pair))
		defer link.Close()
		return must[tls.ConnectionState](t)(link.TLSConnectionState()).PeerCertificates[0].SerialNumber.String()
	}
	before := serial()
	old := must[[]byte](t)(os.ReadFile(s[0].Key))
	next := u.node("elder-1", "elder")
	fresh := must[[]byte](t)(os.ReadFile(s[0].Key))
	until(t, "the new one", 2*time.Second, func() bool { return serial() == next.Leaf.SerialNumber.String() })
	u.write("elder-1.key", old)
	time.Sleep(2 * watchEvery)
	if now := serial(); now == before || now != next.Leaf.SerialNumber.String() {
		t.Error("a key that does not fit replaced the pair")
	}
	u.write("elder-1.key", fresh)
	time.Sleep(2 * watchEvery)
	serial()
}

func (u *universe) publish(e *elder, pair *tls.Certificate, subject string) error {
	link, err := u.connect(e.s, pair)
	if err != nil {
		return err
	}
	defer link.Close()
	m, err := link.Request(subject, []byte("x"), 300*time.Millisecond)
	if err == nil && !bytes.Contains(m.Data, []byte(`"seq"`)) {
		err = errors.New(string(m.Data))
	}
	return err
}

func TestThreeEldersSurviveTheirLeader(t *testing.T) {
	u := newUniverse(t)
	all := u.settings(3, 1)
	started := u.start(all)
	pair := u.node("tns", "tns")
	until(t, "a commit", 5*time.Second, func() bool { return u.publish(started[0], &pair, "log.registry.tns.tns") == nil })

	// Settings that ask for three: one elder makes it so.
	var is server.StreamInfo
	for _, stream := range all[0].Streams {
		if err := streamSet(started[1].link, stream, 3, time.Second); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "three replicas", 10*time.Second, func() bool {
		return ask(started[1].link, "$JS.API.STREAM.INFO.registry", time.Second, nil, &is) == nil &&
			is.Config.Replicas == 3 && len(is.Cluster.Replicas) == 2 &&
			is.Cluster.Replicas[0].Current && is.Cluster.Replicas[1].Current
	})
	if err := streamSet(started[2].link, all[0].Streams[0], 1, time.Second); err != nil {
		t.Fatal(err)
	}
	if err := ask(started[0].link, "$JS.API.STREAM.INFO.registry", time.Second, nil, &is); err != nil || is.Config.Replicas != 3 {
		t.Fatal("older settings took replicas away", err)
	}
	found, _ := leaders(started[0].server, started[0].link, all[0])
	leader := found["registry"]
	var rest []*elder
	for _, e := range started {
		if e.s.Name == leader {
			e.server.Shutdown()
		} else {
			rest = append(rest, e)
		}
	}
	if len(rest) != 2 {
		t.Fatal("no leader")
	}
	died := time.Now()
	until(t, "the stream writes again", 4*time.Second, func() bool { return u.publish(rest[0], &pair, "log.registry.tns.tns") == nil })
	t.Logf("written again %v after the leader died", time.Since(died).Round(time.Millisecond))

	// And one of the two that are left is denied: the other lets go of its routes at once.
	u.write("deny", []byte("node "+rest[1].s.Name+"\n"))
	until(t, "no routes to the denied elder", 2*time.Second, func() bool { return rest[0].server.NumRoutes() == 0 })
	time.Sleep(1200 * time.Millisecond)
	if rest[0].server.NumRoutes() != 0 {
		t.Error("the denied elder came again")
	}
}

func TestStreamsOfALoneElderAreNotLostToACluster(t *testing.T) {
	u := newUniverse(t)
	alone := u.settings(1, 1)
	first := u.start(alone)[0]
	if _, err := meshStart(alone[0], &events{out: &lines{}}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Error("two on one store:", err)
	}
	lost := first.storeLost()
	first.stop()
	select {
	case <-lost:
		t.Error("an end is no loss")
	case <-time.After(2 * storeEvery):
	}
	again := u.start(alone)[0] // again is fine
	lost = again.storeLost()
	if err := again.server.DisableJetStream(); err != nil { // as it does by itself when the disk is full
		t.Fatal(err)
	}
	select {
	case <-lost:
	case <-time.After(10 * storeEvery):
		t.Error("a lost store was not seen")
	}
	again.stop()
	alone[0].Routes = []string{freeAddress(t), freeAddress(t)}
	if _, err := meshStart(alone[0], &events{out: &lines{}}); err == nil || !strings.Contains(err.Error(), "alone") {
		t.Error(err)
	}
}
