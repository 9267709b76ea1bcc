// Who may come in: certificates of one universe against the live deny list, for clients and for routes.
package main

import (
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	elderProtocol = "elder"
	ownUser       = "meshd" // the connection inside this process
	anyNode       = "any"   // in a subject: whoever serves it
	watchEvery    = 250 * time.Millisecond
	cutFor        = 5 * time.Second // routes that passed the check before the denial appear within it
)

// What a certificate says; the node's name without its universe.
type identity struct {
	node, serial string
	protocols    []string
	expires      time.Time
}

type gate struct {
	settings  *settings
	authority *x509.CertPool
	secret    string // of our own connection
	log       *events

	mu          sync.Mutex
	certificate *tls.Certificate
	denied      map[string]bool     // "SERIAL" and "node NAME"
	clients     map[uint64]identity // by the server's number of the connection
	routes      map[string]identity // that others opened to us, by their address
	dialed      map[string]identity // elders that we opened routes to, by serial
	stampOfPair string
	stampOfDeny string
	cutBefore   time.Time // routes that we opened earlier end
}

func gateOpen(s *settings, secret string, log *events) (*gate, error) {
	g := &gate{settings: s, secret: secret, log: log, authority: x509.NewCertPool(),
		clients: map[uint64]identity{}, routes: map[string]identity{}, dialed: map[string]identity{}}
	pem, err := os.ReadFile(s.Authority)
	if err != nil {
		return nil, err
	}
	if !g.authority.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no certificate in it", s.Authority)
	}
	if err := g.pairRead(); err != nil {
		return nil, err
	}
	return g, g.denyRead()
}

// Changes with every rewrite, also one of the same length.
func stampOf(paths ...string) string {
	stamp := ""
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil {
			inode := info.Sys().(*syscall.Stat_t).Ino
			stamp += fmt.Sprintf("%d %d %d;", info.ModTime().UnixNano(), info.Size(), inode)
		}
	}
	return stamp
}

// The former pair stays until both files fit together.
func (g *gate) pairRead() error {
	stamp := stampOf(g.settings.Certificate, g.settings.Key)
	pair, err := tls.LoadX509KeyPair(g.settings.Certificate, g.settings.Key)
	if err != nil {
		return err
	}
	if i, err := g.identify(pair.Leaf); err != nil || !i.isElder() || i.node != g.settings.Name {
		return fmt.Errorf("%s is not the certificate of the elder %s", g.settings.Certificate, g.settings.Name)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.certificate, g.stampOfPair = &pair, stamp
	return nil
}

func (g *gate) pair() *tls.Certificate {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.certificate
}

// The former list stays when it is gone or has a line that nobody understands; at the start there must be
// one.
func (g *gate) denyRead() error {
	stamp := stampOf(g.settings.Deny)
	text, err := os.ReadFile(g.settings.Deny)
	if err != nil {
		return err
	}
	denied := map[string]bool{}
	for number, line := range strings.Split(string(text), "\n") {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case len(words) == 2 && words[0] == "node":
			name, _, _ := strings.Cut(words[1], "@")
			denied["node "+name] = true
		case len(words) == 1 && strings.Trim(words[0], "0123456789abcdef") == "":
			denied[strings.TrimLeft(words[0], "0")] = true
		default:
			return fmt.Errorf("%s:%d: neither a serial number nor `node NAME`", g.settings.Deny, number+1)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.denied, g.stampOfDeny = denied, stamp
	return nil
}

func (i identity) isElder() bool {
	return len(i.protocols) == 1 && i.protocols[0] == elderProtocol
}

// ctau://UNIVERSE/NODE/PROTOCOLS, NODE with or without @UNIVERSE.
func (g *gate) identify(c *x509.Certificate) (identity, error) {
	i := identity{serial: fmt.Sprintf("%x", c.SerialNumber), expires: c.NotAfter}
	if len(c.URIs) != 1 || c.URIs[0].Scheme != "ctau" {
		return i, errors.New("not the certificate of a node")
	}
	if c.URIs[0].Host != g.settings.Universe {
		return i, errors.New("a certificate of another universe")
	}
	parts := strings.Split(c.URIs[0].EscapedPath(), "/")
	if len(parts) != 3 || parts[2] == "" {
		return i, errors.New("not the certificate of a node")
	}
	name, universe, full := strings.Cut(parts[1], "@")
	if !nodeName.MatchString(name) || name == anyNode || (full && universe != g.settings.Universe) {
		return i, errors.New("a node's name that fits into no subject")
	}
	i.node, i.protocols = name, strings.Split(parts[2], "+")
	return i, nil
}

func (g *gate) isDenied(i identity) bool {
	return g.denied[i.serial] || g.denied["node "+i.node] || time.Now().After(i.expires)
}

// The identity of a verified peer. Its connection is noted before the list is let go: what is denied a
// moment later is found there.
func (g *gate) admit(state *tls.ConnectionState, elder bool, note func(identity)) (identity, error) {
	if state == nil || len(state.PeerCertificates) == 0 {
		return identity{}, errors.New("no certificate")
	}
	i, err := g.identify(state.PeerCertificates[0])
	if err != nil {
		return i, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.isDenied(i) {
		return i, fmt.Errorf("%s is denied or expired", i.node)
	}
	if elder && !i.isElder() {
		return i, fmt.Errorf("%s is no elder", i.node)
	}
	if note != nil {
		note(i)
	}
	return i, nil
}

// For both ports. Tickets would let a connection resume around the deny list.
func (g *gate) tlsConfig(elders bool) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ClientCAs:              g.authority,
		SessionTicketsDisabled: true,
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return g.pair(), nil },
		GetClientCertificate:   func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return g.pair(), nil },
		// Names of hosts stand in no certificate of ours: what we dial is verified below.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.VerifiedChains) > 0 { // they came to us
				_, err := g.admit(&state, elders, nil)
				return err
			}
			if err := chainVerify(state.PeerCertificates, g.authority); err != nil {
				return err
			}
			_, err := g.admit(&state, true, func(i identity) { g.dialed[i.serial] = i })
			return err
		},
	}
}

func chainVerify(chain []*x509.Certificate, authority *x509.CertPool) error {
	if len(chain) == 0 {
		return errors.New("no certificate")
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: authority, Intermediates: between,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	return err
}

type clientDoor struct{ *gate }
type routeDoor struct{ *gate }

func (d clientDoor) Check(c server.ClientAuthentication) bool {
	state := c.GetTLSConnectionState()
	o := c.GetOpts()
	if o.Username == ownUser && subtle.ConstantTimeCompare([]byte(o.Password), []byte(d.secret)) == 1 {
		c.RegisterUser(&server.User{Username: ownUser})
		return true
	}
	i, err := d.admit(state, false, func(i identity) { d.clients[c.GetID()] = i })
	if err == nil {
		var may *server.Permissions
		if may, err = d.permissions(i); err == nil {
			c.RegisterUser(&server.User{Username: i.node, Permissions: may, ConnectionDeadline: i.expires})
			return true
		}
	}
	d.log.say("warn", fmt.Sprintf("client %s refused: %v", c.RemoteAddress(), err))
	return false
}

func (d routeDoor) Check(c server.ClientAuthentication) bool {
	_, err := d.admit(c.GetTLSConnectionState(), true, func(i identity) {
		d.routes[c.RemoteAddress().String()] = i
	})
	if err != nil {
		d.log.say("warn", fmt.Sprintf("route %s refused: %v", c.RemoteAddress(), err))
	}
	return err == nil
}

// The union of what the protocols' roles may. Empty lists would mean everything to nats-server. Nobody may
// answer just because it was asked ("allow responses"): who asks chooses the reply subject, and nats-server
// checks it against nobody's permissions, so that a node could ask itself and answer into another's log.
// Roles may publish to re.*.> instead, where each request has a secret in its subject.
func (g *gate) permissions(i identity) (*server.Permissions, error) {
	publish, subscribe := []string{}, []string{}
	for _, protocol := range i.protocols {
		if protocol == "-" {
			protocol = "client"
		}
		role, known := g.settings.Roles[protocol]
		if !known {
			return nil, fmt.Errorf("%s has the unknown protocol %s", i.node, protocol)
		}
		publish = append(publish, role.Publish...)
		subscribe = append(subscribe, role.Subscribe...)
	}
	limit := func(subjects []string) *server.SubjectPermission {
		if len(subjects) == 0 {
			return &server.SubjectPermission{Deny: []string{">"}}
		}
		for at := range subjects {
			subjects[at] = strings.ReplaceAll(subjects[at], "{node}", i.node)
		}
		slices.Sort(subjects)
		return &server.SubjectPermission{Allow: slices.Compact(subjects)}
	}
	return &server.Permissions{Publish: limit(publish), Subscribe: limit(subscribe)}, nil
}

// Follows the files and the clock; ends connections whose certificate no longer counts.
func (g *gate) watch(s *server.Server, done <-chan struct{}) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	badPair, badDeny := "-", "-" // no stamp is like it
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		if now := stampOf(g.settings.Certificate, g.settings.Key); now != g.stampOfPair && now != badPair {
			if err := g.pairRead(); err != nil {
				badPair = now
				g.log.say("warn", "the former certificate stays: "+err.Error())
			}
		}
		if now := stampOf(g.settings.Deny); now != g.stampOfDeny && now != badDeny {
			if err := g.denyRead(); err != nil {
				badDeny = now
				g.log.say("error", "the former deny list stays: "+err.Error())
			}
		}
		g.enforce(s)
	}
}

func (g *gate) enforce(s *server.Server) {
	clients, routes, dialed := g.denyTake(s)
	for id, i := range clients {
		_ = s.DisconnectClientByID(id) // it may be gone
		g.log.say("warn", "client "+i.node+" ended: its certificate is denied or expired")
	}
	if dialed {
		g.cutBefore = time.Now()
	}
	// nats-server does not tell which of the routes that we opened goes to whom, and the name in a
	// route's INFO is only claimed: those all begin anew, with the check. One that had passed the check
	// may appear a moment later.
	if time.Since(g.cutBefore) < cutFor {
		for _, r := range routesOf(s) {
			if r.DidSolicit && r.Start.Before(g.cutBefore) {
				routes[net.JoinHostPort(r.IP, strconv.Itoa(r.Port))] = true
			}
		}
	}
	if len(routes) == 0 {
		return
	}
	g.log.say("warn", "routes ended: an elder's certificate is denied or expired")
	socketsEnd(routes)
}

// Takes out what no longer counts, and forgets what is gone.
func (g *gate) denyTake(s *server.Server) (clients map[uint64]identity, routes map[string]bool, dialed bool) {
	clients, routes = map[uint64]identity{}, map[string]bool{}
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, i := range g.clients {
		if g.isDenied(i) {
			clients[id] = i
			delete(g.clients, id)
		}
	}
	for address, i := range g.routes {
		if g.isDenied(i) {
			routes[address] = true
			delete(g.routes, address)
		}
	}
	for serial, i := range g.dialed {
		if g.isDenied(i) {
			dialed = true
			delete(g.dialed, serial)
		}
	}
	if len(g.clients) > 2*s.NumClients()+64 {
		for id := range g.clients {
			if s.GetClient(id) == nil {
				delete(g.clients, id)
			}
		}
	}
	if len(g.routes) > 64 {
		there := map[string]bool{}
		for _, r := range routesOf(s) {
			there[net.JoinHostPort(r.IP, strconv.Itoa(r.Port))] = true
		}
		for address := range g.routes {
			if !there[address] {
				delete(g.routes, address)
			}
		}
	}
	return clients, routes, dialed
}

func routesOf(s *server.Server) []*server.RouteInfo {
	if info, err := s.Routez(&server.RoutezOptions{}); err == nil {
		return info.Routes
	}
	return nil
}

// nats-server lets nobody close a route: its socket is shut down beneath it, found by the peer's address.
func socketsEnd(peers map[string]bool) {
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, entry := range entries {
		fd, err := strconv.ParseInt(entry.Name(), 10, 32)
		if err != nil || fd > math.MaxInt32 {
			continue
		}
		peer := ""
		switch a, _ := syscall.Getpeername(int(fd)); a := a.(type) {
		case *syscall.SockaddrInet4:
			peer = net.JoinHostPort(net.IP(a.Addr[:]).String(), strconv.Itoa(a.Port))
		case *syscall.SockaddrInet6:
			peer = net.JoinHostPort(net.IP(a.Addr[:]).String(), strconv.Itoa(a.Port))
		}
		if peers[peer] {
			_ = syscall.Shutdown(int(fd), syscall.SHUT_RDWR)
		}
	}
}
