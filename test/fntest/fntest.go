// SPDX-License-Identifier: Apache-2.0

// Package fntest is the kit for tests with functions of the Fn Project: a server of
// internal/fnserver on a port of its own, and functions that run as processes and speak
// Fn's function protocol, as its FDKs do.
//
//	func TestMain(m *testing.M) {
//		fntest.Function(http.HandlerFunc(hello)) // if this process is to be one
//		leak.Main(m)
//	}
package fntest

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/internal/fnserver"
)

// Serve returns a server and the address that it listens on.
func Serve(t testing.TB) (s *fnserver.Server, addr string) {
	t.Helper()
	s = fnserver.New()
	h := httptest.NewServer(s)
	t.Cleanup(func() {
		h.CloseClientConnections()
		h.Close()
		s.Close()
	})
	return s, h.Listener.Addr().String()
}

// listener is where a function is told to listen, as by Fn's runners.
const listener = "FN_LISTENER"

// Function makes a function of this process if [Process] started it, and does not return
// then: h answers its calls.
func Function(h http.Handler) {
	at, ok := strings.CutPrefix(os.Getenv(listener), "unix:")
	if !ok {
		return
	}
	// The socket is at its place once it takes connections, and no sooner.
	phony := at + ".phony"
	ln, err := net.Listen("unix", phony)
	if err == nil {
		err = os.Symlink(filepath.Base(phony), at)
	}
	if err == nil {
		err = http.Serve(ln, h)
	}
	_, _ = os.Stderr.WriteString(err.Error() + "\n")
	os.Exit(1)
}

// patience is how long a function may take to start.
const patience = 30 * time.Second

// Process starts this test's program as a function, with further environment, and
// returns what runs it. It ends with the test.
func Process(t testing.TB, env ...string) http.RoundTripper {
	t.Helper()
	dir, err := os.MkdirTemp("", "fn") // A socket's path must be short.
	if err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(dir, "lsnr.sock")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), listener+"=unix:"+at, "FN_FORMAT=http-stream"), env...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	go func() { gone <- cmd.Wait() }()
	run := fnserver.Socket(at)
	t.Cleanup(func() {
		run.CloseIdleConnections()
		_ = cmd.Process.Kill() // It may have ended by itself.
		<-gone
		if out.Len() > 0 {
			t.Logf("the function said: %s", out.String())
		}
		_ = os.RemoveAll(dir) // It is the system's to tidy up.
	})
	for end, tick := time.After(patience), time.NewTicker(5*time.Millisecond); ; {
		select {
		case err := <-gone:
			gone <- err
			t.Fatalf("the function ended before it began: %v", err)
		case <-end:
			t.Fatal("the function does not begin")
		case <-tick.C:
			if _, err := os.Stat(at); !errors.Is(err, os.ErrNotExist) {
				tick.Stop()
				return run
			}
		}
	}
}
