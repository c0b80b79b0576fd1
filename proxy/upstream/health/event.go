// SPDX-License-Identifier: Apache-2.0

package health

import (
	"time"

	"weir.dev/weir/proxy/upstream"
)

// EventType is what an Event tells.
type EventType uint8

// Event types, in Envoy's words.
const (
	// EjectUnhealthy and AddHealthy: the host's health has changed.
	EjectUnhealthy EventType = iota
	AddHealthy
	// Success and Failure are of checks that changed nothing; a Failure is told of the
	// first check, too.
	Success
	Failure
	Degraded
	NoLongerDegraded
)

// An Event is what a check has found out.
type Event struct {
	Type EventType
	Kind Kind
	Host *upstream.Host
	Time time.Time
	// First tells that it was the host's first check.
	First bool
	// Failure says how a check failed, Status with which status, of HTTP.
	Failure Verdict
	Status  int
}
