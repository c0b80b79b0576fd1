// SPDX-License-Identifier: Apache-2.0

package life

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/internal/logging"
)

func TestMain(m *testing.M) { leak.Main(m) }

// fake is a server that takes a while to drain.
type fake struct {
	drain time.Duration
	self  <-chan error // makes it stop by itself
	ended func()
}

func (f *fake) Run(ctx context.Context) error {
	defer f.ended()
	select {
	case <-ctx.Done():
	case err := <-f.self:
		return err
	}
	<-time.After(f.drain)
	return nil
}

// bench holds what a test sees of a Run.
type bench struct {
	mu    sync.Mutex
	order []string
	log   bytes.Buffer
}

func (b *bench) part(name string, drain time.Duration, self <-chan error, listens, calls string) Part {
	ended := func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.order = append(b.order, name)
	}
	return Part{
		Name: name, Server: &fake{drain: drain, self: self, ended: ended},
		Listens: strings.Fields(listens), Calls: strings.Fields(calls),
	}
}

func (b *bench) run(t *testing.T, signals <-chan os.Signal, reopen func() error, parts ...Part) error {
	t.Helper()
	logs, err := logging.New(&b.log, logging.Options{Format: "%l %v"})
	if err != nil {
		t.Fatal(err)
	}
	return Run(t.Context(), logs.Logger("main"), signals, reopen, parts...)
}

func TestFirstSignalDrainsCallersFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bench
		signals := make(chan os.Signal, 1)
		signals <- syscall.SIGTERM
		began := time.Now()
		err := b.run(t, signals, nil,
			b.part("sidecar.yaml", time.Second, nil, "127.0.0.1:8081", "127.0.0.1:9002"),
			b.part("edge.yaml", time.Minute, nil, "127.0.0.1:8080", "127.0.0.1:8081 127.0.0.1:9001"),
		)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]string{"edge.yaml", "sidecar.yaml"}, b.order); d != "" {
			t.Errorf("wrong order (-want +got):\n%s", d)
		}
		if took := time.Since(began); took != 61*time.Second {
			t.Errorf("took %v, want one after the other: 61s", took)
		}
		want := "info draining: listeners close, requests in flight finish; a second signal ends at once signal=terminated\n" +
			"info draining proxy=edge.yaml\ninfo draining proxy=sidecar.yaml\ninfo stopped\n"
		if d := cmp.Diff(want, b.log.String()); d != "" {
			t.Errorf("wrong log (-want +got):\n%s", d)
		}
	})
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bench
		signals := make(chan os.Signal, 2)
		signals <- syscall.SIGINT
		signals <- syscall.SIGTERM
		began := time.Now()
		if err := b.run(t, signals, nil, b.part("edge.yaml", time.Hour, nil, "", "")); !errors.Is(err, ErrSecondSignal) {
			t.Errorf("returned %v, want ErrSecondSignal", err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("took %v, want no wait", took)
		}
		<-time.After(time.Hour) // The process would exit; a test must outlive the part.
		synctest.Wait()
	})
}

func TestOnePartStopsByItself(t *testing.T) {
	for _, cause := range []error{nil, errors.New("listener lost")} {
		synctest.Test(t, func(t *testing.T) {
			var b bench
			self := make(chan error, 1)
			self <- cause
			err := b.run(t, nil, nil, b.part("a.yaml", 0, self, "", ""), b.part("b.yaml", time.Second, nil, "", ""))
			if !errors.Is(err, cause) || cause != nil && !strings.Contains(err.Error(), "a.yaml: listener lost") {
				t.Errorf("returned %v, want %v", err, cause)
			}
			if len(b.order) != 2 {
				t.Errorf("only %v ended", b.order)
			}
		})
	}
}

func TestSignalsThatDoNotStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bench
		signals := make(chan os.Signal, 4)
		signals <- syscall.SIGUSR1
		signals <- syscall.SIGUSR1
		signals <- syscall.SIGHUP
		signals <- syscall.SIGTERM
		outcomes := []error{nil, errors.New("no space")}
		reopen := func() error {
			err := outcomes[0]
			outcomes = outcomes[1:]
			return err
		}
		if err := b.run(t, signals, reopen, b.part("edge.yaml", 0, nil, "", "")); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			"info opened log files anew\n",
			"error log files could not all be opened anew; the old ones stay in use error=\"no space\"\n",
			"info SIGHUP has no effect",
		} {
			if !strings.Contains(b.log.String(), want) {
				t.Errorf("%q is missing in the log:\n%s", want, b.log.String())
			}
		}
	})
}

func TestStages(t *testing.T) {
	part := func(listens, calls string) Part {
		return Part{Listens: strings.Fields(listens), Calls: strings.Fields(calls)}
	}
	tests := []struct {
		name  string
		parts []Part
		want  [][]int
	}{
		{"none", nil, nil},
		{"unrelated", []Part{part("a", "x"), part("b", "y")}, [][]int{{0, 1}}},
		{"a chain", []Part{part("c", ""), part("b", "c"), part("a", "b")}, [][]int{{2}, {1}, {0}}},
		{"a diamond", []Part{part("a", "b c"), part("b", "d"), part("c", "d"), part("d", "")}, [][]int{{0}, {1, 2}, {3}}},
		{"a circle behind an edge", []Part{part("b", "c"), part("c", "b"), part("a", "b")}, [][]int{{2}, {0, 1}}},
		{"one that calls itself", []Part{part("a", "a")}, [][]int{{0}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, Stages(tt.parts)); d != "" {
				t.Errorf("wrong stages (-want +got):\n%s", d)
			}
		})
	}
}

func TestSignals(t *testing.T) {
	want := []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1, syscall.SIGHUP}
	if d := cmp.Diff(want, Signals()); d != "" {
		t.Errorf("wrong signals (-want +got):\n%s", d)
	}
}
