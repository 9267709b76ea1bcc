// The settings that an elder writes for its meshd: one JSON file, read strictly.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"regexp"
	"strconv"
)

const (
	electionMsMin, electionMsMax     = 100, 60000
	payloadBytesMin, payloadBytesMax = 1 << 10, 32 << 20
	streamsMax                       = 16 // each replicated one is a Raft group with its own heartbeat
)

type streamSettings struct {
	Name     string   `json:"name"`
	Subjects []string `json:"subjects"`
}

type roleSettings struct {
	Publish   []string `json:"publish"`
	Subscribe []string `json:"subscribe"`
}

type settings struct {
	Universe    string                  `json:"universe"`
	Name        string                  `json:"name"`
	Client      string                  `json:"client"`
	Route       string                  `json:"route"`
	Routes      []string                `json:"routes"`
	Store       string                  `json:"store"`
	ElectionMs  int                     `json:"election_ms"`
	PayloadMax  int                     `json:"payload_bytes_max"`
	Certificate string                  `json:"certificate"`
	Key         string                  `json:"key"`
	Authority   string                  `json:"authority"`
	Deny        string                  `json:"deny"`
	Replicas    int                     `json:"replicas"`
	Streams     []streamSettings        `json:"streams"`
	Roles       map[string]roleSettings `json:"roles"`
}

var (
	nodeName     = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`) // one token of a subject
	universeName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
	streamName   = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)
)

func settingsRead(path string) (*settings, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s := &settings{}
	if err := settingsParse(text, s); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

func settingsParse(text []byte, s *settings) error {
	in := json.NewDecoder(bytes.NewReader(text))
	in.DisallowUnknownFields()
	if err := in.Decode(s); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return fmt.Errorf("field %q: a %s where %s belongs", wrong.Field, wrong.Value, wrong.Type)
		}
		return err
	}
	if _, err := in.Token(); err != io.EOF {
		return errors.New("more than one object")
	}
	given := map[string]json.RawMessage{}
	if err := json.Unmarshal(text, &given); err != nil {
		return err
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[settings]()) {
		name := f.Tag.Get("json")
		if value, there := given[name]; !there || string(value) == "null" {
			return fmt.Errorf("field %q is missing", name)
		}
	}
	return settingsCheck(s)
}

func settingsCheck(s *settings) error {
	checks := []struct {
		field string
		good  bool
	}{
		{"universe", universeName.MatchString(s.Universe)},
		{"name", nodeName.MatchString(s.Name)},
		{"client", address(s.Client)},
		{"route", address(s.Route)},
		{"store", s.Store != ""},
		{"election_ms", s.ElectionMs >= electionMsMin && s.ElectionMs <= electionMsMax},
		{"payload_bytes_max", s.PayloadMax >= payloadBytesMin && s.PayloadMax <= payloadBytesMax},
		{"replicas", s.Replicas == 1 || s.Replicas == 3 || s.Replicas == 5},
		{"replicas (more than elders)", s.Replicas <= len(s.Routes)+1},
		{"streams", len(s.Streams) > 0 && len(s.Streams) <= streamsMax},
		{"roles", len(s.Roles) > 0},
	}
	for _, c := range checks {
		if !c.good {
			return fmt.Errorf("field %q is out of range", c.field)
		}
	}
	for i, route := range s.Routes {
		if !address(route) {
			return fmt.Errorf("field \"routes[%d]\" is no address with a port", i)
		}
	}
	for i, stream := range s.Streams {
		if !streamName.MatchString(stream.Name) || len(stream.Subjects) == 0 {
			return fmt.Errorf("field \"streams[%d]\" lacks a name or subjects", i)
		}
	}
	for name, role := range s.Roles {
		if role.Publish == nil || role.Subscribe == nil {
			return fmt.Errorf("field \"roles.%s\" lacks publish or subscribe", name)
		}
	}
	return nil
}

func address(text string) bool {
	_, _, err := hostPort(text)
	return err == nil
}

func hostPort(text string) (string, int, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return "", 0, err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 || host == "" {
		return "", 0, fmt.Errorf("%s: not HOST:PORT", text)
	}
	return host, int(number), nil
}
