// The Raft time-outs of nats-server: seven variables that it does not let one configure.
package main

import (
	"fmt"
	"time"
	_ "unsafe" // go:linkname

	_ "github.com/nats-io/nats-server/v2/server"
)

//go:linkname minElectionTimeout github.com/nats-io/nats-server/v2/server.minElectionTimeout
var minElectionTimeout time.Duration

//go:linkname maxElectionTimeout github.com/nats-io/nats-server/v2/server.maxElectionTimeout
var maxElectionTimeout time.Duration

//go:linkname minCampaignTimeout github.com/nats-io/nats-server/v2/server.minCampaignTimeout
var minCampaignTimeout time.Duration

//go:linkname maxCampaignTimeout github.com/nats-io/nats-server/v2/server.maxCampaignTimeout
var maxCampaignTimeout time.Duration

//go:linkname hbInterval github.com/nats-io/nats-server/v2/server.hbInterval
var hbInterval time.Duration

//go:linkname lostQuorumInterval github.com/nats-io/nats-server/v2/server.lostQuorumInterval
var lostQuorumInterval time.Duration

//go:linkname lostQuorumCheck github.com/nats-io/nats-server/v2/server.lostQuorumCheck
var lostQuorumCheck time.Duration

type timeout struct {
	name    string
	at      *time.Duration
	builtIn time.Duration
	tuned   func(election time.Duration) time.Duration
}

func times(numerator, denominator time.Duration) func(time.Duration) time.Duration {
	return func(election time.Duration) time.Duration { return election * numerator / denominator }
}

// With what this was written for: a variable that was renamed upstream still links, as a zero of our own.
func raftTimeouts() []timeout {
	return []timeout{
		{"minElectionTimeout", &minElectionTimeout, 4 * time.Second, times(1, 1)},
		{"maxElectionTimeout", &maxElectionTimeout, 9 * time.Second, times(2, 1)},
		{"minCampaignTimeout", &minCampaignTimeout, 100 * time.Millisecond, times(1, 10)},
		{"maxCampaignTimeout", &maxCampaignTimeout, 800 * time.Millisecond, times(1, 2)},
		{"hbInterval", &hbInterval, time.Second, times(1, 4)},
		{"lostQuorumInterval", &lostQuorumInterval, 10 * time.Second, times(3, 1)},
		{"lostQuorumCheck", &lostQuorumCheck, 10 * time.Second, times(3, 1)},
	}
}

// Before the first server of this process starts; refuses all when one is not as expected.
func raftTune(all []timeout, election time.Duration) error {
	for _, t := range all {
		if *t.at != t.builtIn {
			return fmt.Errorf("nats-server's %s is %v, not %v: this meshd was written for another version",
				t.name, *t.at, t.builtIn)
		}
	}
	for _, t := range all {
		*t.at = t.tuned(election)
	}
	return nil
}
