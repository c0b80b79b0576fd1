// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A process is a program of the cluster, or one that a test runs beside it.
type process struct {
	name  string
	cmd   *exec.Cmd
	log   string // file
	ended chan struct{}
}

// start starts a program whose output goes to a file of its name.
func (c *Cluster) start(name string, command ...string) error {
	_, err := c.launch(name, nil, command...)
	return err
}

func (c *Cluster) launch(name string, env []string, command ...string) (*process, error) {
	if err := os.MkdirAll(c.Logs(), 0o755); err != nil {
		return nil, err
	}
	p := &process{name: name, log: filepath.Join(c.Logs(), name+".log"), ended: make(chan struct{})}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p.cmd = exec.Command(command[0], command[1:]...)
	p.cmd.Dir = c.Dir
	p.cmd.Env = append(append(os.Environ(), "KUBECONFIG="+c.Kubeconfig()), env...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // How it ended its log tells.
	}()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.processes = append(c.processes, p)
	return p, nil
}

// kill ends the process at once.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // It may have ended by itself.
	<-p.ended
}

// terminate asks the process to end, and ends it if it does not.
func (p *process) terminate() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(Patience / 4):
		p.kill()
	}
}

// tail is how many lines of a log are shown when something goes wrong.
const tail = 15

// tails returns the last lines of the logs of those processes that have ended by themselves.
func (c *Cluster) tails() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	for _, p := range c.processes {
		if p.cmd.ProcessState == nil || p.cmd.ProcessState.ExitCode() < 0 {
			continue
		}
		text, _ := os.ReadFile(p.log) // Without it the error stands for itself.
		lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
		fmt.Fprintf(&b, "\n%s has ended (%v):\n%s", p.name, p.cmd.ProcessState, bytes.Join(lines[max(0, len(lines)-tail):], []byte("\n")))
	}
	return b.String()
}

// A Process is a program that runs on the node, beside the cluster.
type Process struct{ p *process }

// Launch starts a program on the node, with KUBECONFIG in its environment. Its output goes to a file of its name in Logs.
// Stop ends it, too.
func (c *Cluster) Launch(name string, command ...string) (Process, error) {
	p, err := c.launch(name, nil, command...)
	return Process{p}, err
}

// Stop ends the process with SIGTERM, and with SIGKILL if that does not.
func (p Process) Stop() { p.p.terminate() }

// Ended is closed when the process has ended.
func (p Process) Ended() <-chan struct{} { return p.p.ended }

// Output returns what the process has written.
func (p Process) Output() string {
	text, err := os.ReadFile(p.p.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// PID is the process's id, as /proc of the node has it.
func (p Process) PID() int { return p.p.cmd.Process.Pid }
