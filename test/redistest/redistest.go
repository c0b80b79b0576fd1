// SPDX-License-Identifier: Apache-2.0

// Package redistest runs the real Redis for tests: one server, a server that a sentinel
// watches, a cluster of one node. Tests are skipped where redis-server is not installed.
package redistest

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/test/weirtest"
)

// A Server is one process.
type Server struct {
	// Address is host:port, Dir its folder.
	Address, Dir string
	t            testing.TB
	args         []string
	cmd          *exec.Cmd
	log          *bytes.Buffer
}

// patience bounds the wait for a server, which a busy machine may keep from running.
const patience = 30 * time.Second

// Start runs a server with arguments of redis-server's, and waits until it answers.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	return start(t, weirtest.FreePort(t), args)
}

func start(t testing.TB, port string, args []string) *Server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("redis-server is not installed (Debian: redis-server)")
	}
	s := &Server{Address: "127.0.0.1:" + port, Dir: t.TempDir(), t: t, args: args}
	s.Restart()
	t.Cleanup(s.Kill)
	return s
}

// Restart runs the server again at its address, after Kill.
func (s *Server) Restart() {
	s.t.Helper()
	_, port, _ := net.SplitHostPort(s.Address)
	own := []string{"--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", s.Dir}
	if slices.Contains(s.args, "--tls-cert-file") {
		own = append(own, "--port", "0", "--tls-port", port)
	} else {
		own = append(own, "--port", port)
	}
	s.run("redis-server", append(own, s.args...)...)
}

func (s *Server) run(program string, args ...string) {
	s.t.Helper()
	s.log = &bytes.Buffer{}
	s.cmd = exec.Command(program, args...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	within := time.After(patience)
	for {
		if c, err := net.Dial("tcp", s.Address); err == nil {
			_ = c.Close()
			return
		}
		select {
		case <-within:
			s.Kill()
			s.t.Fatalf("%s does not listen at %s:\n%s", program, s.Address, s.log)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Kill ends the server at once; what it knew is lost.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // It may have ended.
	_ = s.cmd.Wait()         // Its status is that it was killed.
	s.cmd = nil
}

// Do sends one command, in Redis' inline form, and returns the first line of the answer.
func (s *Server) Do(command string) string {
	s.t.Helper()
	c, err := net.Dial("tcp", s.Address)
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		s.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(c, "%s\r\n", command); err != nil {
		s.t.Fatal(err)
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// Await asks a command until its answer begins with want.
func (s *Server) Await(command, want string) {
	s.t.Helper()
	within := time.After(patience)
	for {
		got := s.Do(command)
		if strings.HasPrefix(got, want) {
			return
		}
		select {
		case <-within:
			s.t.Fatalf("%s: %s, want %s\n%s", command, got, want, s.log)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Cluster runs a cluster of one node, which has all slots.
func Cluster(t testing.TB) *Server {
	t.Helper()
	port := weirtest.FreePort(t)
	s := start(t, port, []string{"--cluster-enabled", "yes", "--cluster-port", weirtest.FreePort(t)})
	s.Await("CLUSTER ADDSLOTSRANGE 0 16383", "+OK")
	s.Await("CLUSTER COUNTKEYSINSLOT 0", ":0")
	// It serves once it has seen that it has all slots.
	s.Await("SET ready 1", "+OK")
	return s
}

// Sentinel runs a sentinel that knows a server as "limits".
func Sentinel(t testing.TB, master *Server) *Server {
	t.Helper()
	port := weirtest.FreePort(t)
	s := &Server{Address: "127.0.0.1:" + port, Dir: t.TempDir(), t: t}
	host, at, _ := net.SplitHostPort(master.Address)
	file := filepath.Join(s.Dir, "sentinel.conf")
	text := fmt.Sprintf("port %s\nbind 127.0.0.1\ndir %s\nsentinel monitor limits %s %s 1\n", port, s.Dir, host, at)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.run("redis-server", file, "--sentinel")
	t.Cleanup(s.Kill)
	return s
}
