// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"weir.dev/weir/cmd/weir/flags"
	"weir.dev/weir/internal/reserve"
)

// fakeStarter records what it is asked for. A bootstrap that says "bad" is refused.
type fakeStarter struct {
	checked, started [][]string // pieces as name=content
	options          *flags.Proxy
	run              func(ctx context.Context) error

	mu     sync.Mutex // engines close when they end, each by itself
	events []string
}

func (s *fakeStarter) read(bootstrap []document) ([]string, error) {
	var pieces []string
	for _, d := range bootstrap {
		if string(d.data) == "bad" {
			return nil, fmt.Errorf("%s:1: bad", filepath.Base(d.name))
		}
		pieces = append(pieces, filepath.Base(d.name)+"="+string(d.data))
	}
	return pieces, nil
}

func (s *fakeStarter) Check(bootstrap []document, o *flags.Proxy, _ *slog.Logger) error {
	pieces, err := s.read(bootstrap)
	s.checked, s.options = append(s.checked, pieces), o
	return err
}

func (s *fakeStarter) Serve(from objects, o *flags.Proxy, _ *slog.Logger) (engine, error) {
	s.started, s.options = append(s.started, from.paths), o
	return &fakeEngine{s, "objects"}, nil
}

func (s *fakeStarter) Start(bootstrap []document, o *flags.Proxy, _ *slog.Logger) (engine, error) {
	pieces, err := s.read(bootstrap)
	if err != nil {
		return nil, err
	}
	s.started, s.options = append(s.started, pieces), o
	return &fakeEngine{s, pieces[0]}, nil
}

type fakeEngine struct {
	*fakeStarter
	name string
}

func (e *fakeEngine) Run(ctx context.Context) error { return e.run(ctx) }
func (e *fakeEngine) Close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.events = append(e.events, "close "+e.name)
}
func (e *fakeEngine) AdminAddr() string   { return "127.0.0.1:9901" }
func (e *fakeEngine) Listeners() []string { return []string{"127.0.0.1:8080", "127.0.0.1:8443"} }
func (e *fakeEngine) Calls() []string     { return nil }
func (e *fakeEngine) Live() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}
func (e *fakeEngine) ReopenLogs() error { return nil }

// runWith executes "weir ARGS..." with the commands that need a starter.
func runWith(s starter, stdin string, args ...string) (stdout, stderr string, err error) {
	var out, errs bytes.Buffer
	root := &cobra.Command{Use: "weir", SilenceErrors: true, SilenceUsage: true}
	root.SetFlagErrorFunc(explainFlag)
	root.AddCommand(newProxy(s), newRun(s))
	root.SetArgs(args)
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&errs)
	err = root.ExecuteContext(context.Background())
	return out.String(), errs.String(), err
}

func ends(err error) func(context.Context) error {
	return func(context.Context) error { return err }
}

func write(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestProxyCommand(t *testing.T) {
	path := write(t, t.TempDir(), "edge.yaml", "file")
	bad := write(t, t.TempDir(), "bad.yaml", "bad")
	tests := []struct {
		name             string
		args             []string
		stdin            string
		checked, started [][]string
		out, errs, err   string // parts
	}{
		{name: "serves", args: []string{"-c", path}, started: [][]string{{"edge.yaml=file"}}, errs: "[info][main] listening address=127.0.0.1:8443\n"},
		{name: "tells the admin", args: []string{"-c", path}, started: [][]string{{"edge.yaml=file"}}, errs: "[info][main] admin listening address=127.0.0.1:9901\n"},
		{name: "stdin", args: []string{"-c", "-"}, stdin: "piped", started: [][]string{{"-=piped"}}},
		{name: "merges", args: []string{"-c", path, "--config-yaml", "x: 1"}, started: [][]string{{"edge.yaml=file", "--config-yaml=x: 1"}}},
		{name: "validates", args: []string{"-c", path, "--mode", "validate"}, checked: [][]string{{"edge.yaml=file"}}, out: "configuration '" + path + "' OK\n"},
		{name: "refuses", args: []string{"-c", bad, "--mode", "validate"}, checked: [][]string{nil}, err: "bad.yaml:1: bad"},
		{name: "refuses to serve", args: []string{"-c", bad}, err: "bad.yaml:1: bad"},
		{name: "notices", args: []string{"-c", path, "--base-id", "1"}, started: [][]string{{"edge.yaml=file"}}, errs: "[warning][main] --base-id has no effect"},
		{name: "no file", args: []string{"-c", path + "x"}, err: "read bootstrap: open"},
		{name: "no configuration", err: "no configuration: give --config-path FILE"},
		{name: "misspelt flag", args: []string{"--log-levl", "debug"}, err: "did you mean --log-level?"},
		{name: "log file that cannot be", args: []string{"-c", path, "--log-path", path + "/x"}, err: "--log-path: open log file"},
		{name: "version", args: []string{"--version"}, out: "weir "},
		{name: "hot restart version", args: []string{"--hot-restart-version"}, out: "disabled\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &fakeStarter{run: ends(nil)}
			out, errs, err := runWith(s, tt.stdin, append([]string{"proxy"}, tt.args...)...)
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("ended with %v, want %q", err, tt.err)
			}
			if !strings.Contains(out, tt.out) || !strings.Contains(errs, tt.errs) {
				t.Errorf("stdout %q, stderr %q; want %q and %q in them", out, errs, tt.out, tt.errs)
			}
			if d := cmp.Diff([][][]string{tt.checked, tt.started}, [][][]string{s.checked, s.started}); d != "" {
				t.Errorf("wrong bootstraps checked and started (-want +got):\n%s", d)
			}
			if len(s.started) != len(s.events) {
				t.Errorf("%d started, closed: %v", len(s.started), s.events)
			}
		})
	}
}

func TestProxyCommandFails(t *testing.T) {
	s := &fakeStarter{run: ends(errors.New("listener lost"))}
	_, _, err := runWith(s, "x", "proxy", "-c", "-")
	if err == nil || err.Error() != "-: listener lost" {
		t.Errorf("ended with %v", err)
	}
}

func TestProxyLogFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weir.log")
	s := &fakeStarter{run: ends(nil)}
	_, errs, err := runWith(s, "x", "proxy", "-c", "-", "--log-path", path, "--log-format", "%l %v", "--drain-time-s", "7")
	if err != nil || errs != "" {
		t.Fatalf("ended with %v, stderr %q", err, errs)
	}
	got, err := os.ReadFile(path)
	want := "info listening address=127.0.0.1:8080\ninfo listening address=127.0.0.1:8443\ninfo admin listening address=127.0.0.1:9901\ninfo stopped\n"
	if err != nil || string(got) != want {
		t.Errorf("log file (%v):\n%s", err, cmp.Diff(want, string(got)))
	}
	if s.options.DrainTime != 7*time.Second {
		t.Errorf("drain time %v, want 7s", s.options.DrainTime)
	}
}

func TestRunCommand(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "edge.yaml", "file")
	write(t, dir, "sidecar.json", "{}")
	address := reserve.TCP(t)
	write(t, dir, "demo.yaml", "apiVersion: weir.dev/v1alpha1\nkind: Demo\nspec:\n  backends: [{name: orders, address: \""+address+"\"}]\n"+
		"  requests: [{curl: curl -s http://127.0.0.1:8080/, expect: an answer}]\n")
	var answered atomic.Bool
	s := &fakeStarter{run: func(context.Context) error {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return err
		}
		answered.Store(true)
		return c.Close()
	}}
	out, _, err := runWith(s, "", "run", dir, "--log-level", "error")
	if err != nil || !answered.Load() {
		t.Fatalf("ended with %v; backend reached: %v", err, answered.Load())
	}
	want := "edge.yaml      listens on 127.0.0.1:8080, 127.0.0.1:8443   admin http://127.0.0.1:9901/\n" +
		"sidecar.json   listens on 127.0.0.1:8080, 127.0.0.1:8443   admin http://127.0.0.1:9901/\n" +
		"orders         listens on " + address + strings.Repeat(" ", len("127.0.0.1:8080, 127.0.0.1:8443")-len(address)+3) + "demo backend\n" +
		"\nTry:\n\n  curl -s http://127.0.0.1:8080/\n    an answer\n\nReady. Stop with Ctrl-C.\n"
	if d := cmp.Diff(want, out); d != "" {
		t.Errorf("wrong output (-want +got):\n%s", d)
	}
	if len(s.events) != 2 {
		t.Errorf("closed: %v", s.events)
	}
	if c, err := net.Dial("tcp", address); err == nil {
		_ = c.Close()
		t.Error("the backend is still there")
	}
}

func TestRunCommandTellsAllProblems(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.yaml", "c.yaml"} {
		write(t, dir, name, "bad")
	}
	write(t, dir, "b.yaml", "good")
	s := &fakeStarter{run: ends(nil)}
	out, _, err := runWith(s, "", "run", dir)
	if err == nil || err.Error() != "a.yaml:1: bad\nc.yaml:1: bad" {
		t.Errorf("ended with %v", err)
	}
	if out != "" || cmp.Diff([]string{"close b.yaml=good"}, s.events) != "" {
		t.Errorf("stdout %q, closed %v", out, s.events)
	}
	if _, _, err := runWith(s, "", "run", filepath.Join(dir, "none")); err == nil {
		t.Error("a path that is not there passed")
	}
	if _, _, err := runWith(s, "", "run"); err == nil {
		t.Error("no path passed")
	}
}
