// meshd is nats-server for one universe: `meshd [-parent] FILE`, settings in, events out.
//
// The happy path: 1. read the settings, 2. tune Raft, 3. start the server, 4. make the streams, 5. say
// "ready", 6. watch leaders, certificates and the deny list, 7. hand over and end on SIGTERM.
package main

import (
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	pendingBytesMax = 64 << 20
	pingEvery       = 2 * time.Second
	pingsOutMax     = 2
	writeDeadline   = 2 * time.Second
	handoverMax     = 600 * time.Millisecond
	lockWait        = time.Second // of a former process that is ending
	memoryBytesSoft = 512 << 20
	storeEvery      = 250 * time.Millisecond // looks whether it is there
	routeReports    = 60                     // attempts, about one in a second, from one complaint about a route to the next
)

func main() {
	parent := flag.Bool("parent", false, "end when stdin closes")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: meshd [-parent] FILE")
		os.Exit(2)
	}
	debug.SetGCPercent(50)
	debug.SetMemoryLimit(memoryBytesSoft)
	fail := func(status int, err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "meshd:", err)
			os.Exit(status)
		}
	}
	s, err := settingsRead(flag.Arg(0))
	fail(2, err)
	fail(1, raftTune(raftTimeouts(), time.Duration(s.ElectionMs)*time.Millisecond))
	m, err := meshStart(s, &events{out: os.Stdout})
	fail(1, err)
	stop := make(chan os.Signal, 2)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	if *parent {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			stop <- syscall.SIGTERM
		}()
	}
	select {
	case <-stop:
		m.stop()
	case <-m.storeLost():
		fmt.Fprintln(os.Stderr, "meshd: nats-server gave its store up (a full disk?): to be started anew")
		m.stop()
		os.Exit(1)
	}
}

// nats-server turns JetStream off for good where the disk is full; only a new process takes it up again.
func (m *mesh) storeLost() <-chan struct{} {
	lost := make(chan struct{})
	go func() {
		for m.server.JetStreamEnabled() {
			select {
			case <-m.done:
				return
			case <-time.After(storeEvery):
			}
		}
		close(lost)
	}()
	return lost
}

type mesh struct {
	lock   *os.File
	server *server.Server
	link   *nats.Conn
	done   chan struct{}
}

func options(s *settings, g *gate) *server.Options {
	o := &server.Options{
		ServerName: s.Name, NoSigs: true, DisableJetStreamBanner: true,
		JetStream: true, StoreDir: s.Store, SyncAlways: true, JetStreamMaxMemory: 64 << 20,
		TLSConfig: g.tlsConfig(false), TLSHandshakeFirst: true, TLSTimeout: 2, AuthTimeout: 3,
		MaxPayload: int32(s.PayloadMax), MaxPending: pendingBytesMax, WriteDeadline: writeDeadline,
		PingInterval: pingEvery, MaxPingsOut: pingsOutMax,
		CustomClientAuthentication: clientDoor{g}, CustomRouterAuthentication: routeDoor{g},
		Cluster:             server.ClusterOpts{NoAdvertise: true},
		ConnectErrorReports: routeReports, ReconnectErrorReports: routeReports,
	}
	o.Host, o.Port, _ = hostPort(s.Client) // settingsCheck has seen it
	if len(s.Routes) == 0 {
		return o
	}
	c := &o.Cluster
	c.Name, c.TLSConfig, c.TLSTimeout, c.AuthTimeout = s.Universe, g.tlsConfig(true), 2, 3
	c.PingInterval, c.MaxPingsOut, c.WriteDeadline = pingEvery, pingsOutMax, writeDeadline
	// One connection for messages and one, of the system account, for Raft.
	c.PoolSize, c.Compression.Mode = 1, server.CompressionOff
	c.Host, c.Port, _ = hostPort(s.Route)
	for _, route := range s.Routes {
		o.Routes = append(o.Routes, &url.URL{Scheme: "nats-route", Host: route})
	}
	return o
}

// Two servers on one store would ruin it; the lock ends with the process.
func storeLock(s *settings) (*os.File, error) {
	if err := os.MkdirAll(s.Store, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(s.Store, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for until := time.Now().Add(lockWait); ; time.Sleep(retryEvery) {
		if err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
			return lock, nil
		}
		if time.Now().After(until) {
			lock.Close()
			return nil, fmt.Errorf("%s is in use by another meshd: %w", s.Store, err)
		}
	}
}

// A cluster removes streams that it did not make: those of an elder that was alone before.
func storeCheck(s *settings) error {
	if len(s.Routes) == 0 {
		return nil
	}
	at := filepath.Join(s.Store, "jetstream")
	streams, _ := filepath.Glob(filepath.Join(at, server.DEFAULT_GLOBAL_ACCOUNT, "streams", "*"))
	_, err := os.Stat(filepath.Join(at, server.DEFAULT_SYSTEM_ACCOUNT, "_js_", "_meta_"))
	if len(streams) > 0 && err != nil {
		return errors.New(s.Store + " holds the streams of an elder that was alone: a cluster would remove them")
	}
	return nil
}

func meshStart(s *settings, log *events) (*mesh, error) {
	lock, err := storeLock(s)
	if err != nil {
		return nil, err
	}
	if err := storeCheck(s); err != nil {
		lock.Close()
		return nil, err
	}
	secret := rand.Text()
	g, err := gateOpen(s, secret, log)
	if err != nil {
		return nil, err
	}
	m := &mesh{lock: lock, done: make(chan struct{})}
	if m.server, err = server.NewServer(options(s, g)); err != nil {
		return nil, err
	}
	m.server.SetLoggerV2(log, false, false, false)
	m.server.Start()
	// With TLS also inside: without, nats-server waits 50 ms for the client's first byte.
	m.link, err = nats.Connect("", nats.InProcessServer(m.server), nats.Secure(g.tlsConfig(true)),
		nats.TLSHandshakeFirst(), nats.UserInfo(ownUser, secret), nats.MaxReconnects(-1),
		nats.ReconnectWait(retryEvery), nats.RetryOnFailedConnect(true))
	if err != nil {
		m.server.Shutdown()
		return nil, err
	}
	if err = followServe(m.link, s); err != nil {
		m.server.Shutdown()
		return nil, err
	}
	go g.watch(m.server, m.done)
	go func() {
		if streamsSet(m.server, m.link, s, log, m.done) {
			leadersWatch(m.server, m.link, s, log, m.done)
		}
	}()
	return m, nil
}

// Leaders hand over first, so that nobody waits for an election.
func (m *mesh) stop() {
	close(m.done)
	m.link.Close()
	if m.server.JetStreamIsClustered() {
		go m.server.LameDuckShutdown()
		for until := time.Now().Add(handoverMax); m.leads() && time.Now().Before(until); {
			time.Sleep(retryEvery)
		}
	}
	m.server.Shutdown()
	m.lock.Close()
}

func (m *mesh) leads() bool {
	here, err := m.server.JszAccount(&server.JSzOptions{Account: server.DEFAULT_GLOBAL_ACCOUNT, Streams: true})
	if err != nil {
		return false
	}
	for _, stream := range here.Streams {
		if stream.Cluster != nil && (stream.Cluster.Leader == m.server.Name() || stream.Cluster.Leader == "") {
			return true
		}
	}
	return m.server.JetStreamIsLeader()
}
