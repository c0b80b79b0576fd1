// SPDX-License-Identifier: Apache-2.0

// Package leak is the TestMain of every package that starts goroutines: it runs the tests and then fails
// the package if a goroutine outlives them.
//
// It owns the short list of goroutines that may stay, so that no package keeps a list of its own. It
// deliberately does not look at file descriptors: a test that opens one closes it with t.Cleanup.
package leak

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// Main runs the tests of m and exits with their status, or with 1 if the tests passed and a goroutine is
// still running about a second after the last of them.
//
//	func TestMain(m *testing.M) { leak.Main(m) }
//
// It calls each function of after between the end of the tests and the exit.
func Main(m *testing.M, after ...func()) {
	goleak.VerifyTestMain(m, append(allowed(), goleak.Cleanup(func(status int) {
		for _, f := range after {
			f()
		}
		os.Exit(status)
	}))...)
}

// Check fails t at its end if a goroutine that t started is still running. It is for one test whose package
// has goroutines of its own for its whole life; everywhere else Main is enough.
func Check(t *testing.T) {
	t.Helper()
	before := append(allowed(), goleak.IgnoreCurrent())
	t.Cleanup(func() { goleak.VerifyNone(t, before...) })
}

// allowed names the goroutines that the standard library keeps for the life of a process.
func allowed() []goleak.Option {
	return []goleak.Option{
		// os/signal keeps one goroutine once anything has asked for signals; it never ends.
		goleak.IgnoreTopFunction("os/signal.signal_recv"),
	}
}
