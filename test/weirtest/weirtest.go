// SPDX-License-Identifier: Apache-2.0

// Package weirtest runs the real binary as a process: built once for a test binary, started with arguments,
// watched through its output, and told to end by signals. It knows the command line and nothing else of the
// product.
package weirtest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"weir.dev/weir/internal/leak"
)

// binaryVariable names the binary to test. Main builds one when it is not set.
const binaryVariable = "WEIR_TEST_BINARY"

// patience bounds every wait for something that should take no time at all.
const patience = 30 * time.Second

// Main is the TestMain of a package that uses Start: it builds the binary, runs the tests and clears up.
func Main(m *testing.M) {
	if os.Getenv(binaryVariable) != "" {
		leak.Main(m)
		return
	}
	dir, err := build()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	leak.Main(m, func() { _ = os.RemoveAll(dir) }) // What is left behind is in the folder for such.
}

// build makes the binary in a folder of its own and names it in the environment.
func build() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "weirtest"); err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "weir")
	if out, err := exec.Command("go", "build", "-o", binary, "weir.dev/weir/cmd/weir").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the binary: %w\n%s", err, out)
	}
	return dir, os.Setenv(binaryVariable, binary)
}

// Binary is the path of the binary.
func Binary() string { return os.Getenv(binaryVariable) }

// Run runs a command line to its end and returns what it printed, on both outputs, and its exit status.
func Run(t *testing.T, stdin string, args ...string) (output string, status int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Getenv(binaryVariable), args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// A Process is the binary at work. It is killed at the end of the test if it is still there.
type Process struct {
	t     *testing.T
	cmd   *exec.Cmd
	ended chan struct{}

	mu     sync.Mutex
	output strings.Builder
	grown  chan struct{} // closed, and made anew, whenever output grows
}

// Start starts the binary.
func Start(t *testing.T, args ...string) *Process {
	t.Helper()
	p := &Process{t: t, cmd: exec.Command(os.Getenv(binaryVariable), args...), ended: make(chan struct{}), grown: make(chan struct{})}
	r, w := io.Pipe()
	p.cmd.Stdout, p.cmd.Stderr = w, w
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		p.collect(r)
	}()
	go func() {
		_ = p.cmd.Wait() // Its outcome is in ProcessState.
		_ = w.Close()
		<-read
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // It has ended already, unless the test failed.
		<-p.ended
		if t.Failed() {
			t.Logf("weir %s\n%s", strings.Join(args, " "), p.Output())
		}
	})
	return p
}

func (p *Process) collect(r io.Reader) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		p.mu.Lock()
		p.output.WriteString(line)
		close(p.grown)
		p.grown = make(chan struct{})
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Output is all that the process has printed so far.
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// WaitFor waits until the process has printed text.
func (p *Process) WaitFor(text string) {
	p.t.Helper()
	late := time.After(patience)
	for {
		p.mu.Lock()
		found, grown := strings.Contains(p.output.String(), text), p.grown
		p.mu.Unlock()
		if found {
			return
		}
		select {
		case <-grown:
		case <-p.ended:
			if !strings.Contains(p.Output(), text) {
				p.t.Fatalf("ended with status %d before it printed %q", p.cmd.ProcessState.ExitCode(), text)
			}
		case <-late:
			p.t.Fatalf("did not print %q within %v", text, patience)
		}
	}
}

// Signal sends a signal.
func (p *Process) Signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// Wait waits for the end of the process, at most within, and returns its exit status; -1 if a signal ended it.
func (p *Process) Wait(within time.Duration) int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(within):
		p.t.Fatalf("still running after %v", within)
	}
	return p.cmd.ProcessState.ExitCode()
}
