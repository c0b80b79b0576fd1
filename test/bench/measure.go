// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"weir.dev/weir/test/bench/peer"
	"weir.dev/weir/test/bench/proc"
	"weir.dev/weir/test/bench/report"
	"weir.dev/weir/test/bench/scenario"
)

// The cores: one for the proxy alone, one for all else.
const (
	proxyCore = 0
	loadCore  = 1
)

// startLimit is how long a proxy may take until it answers; ten thousand hosts take some of them a while.
const startLimit = 60 * time.Second

// A bench is one whole run.
type bench struct {
	options
	self    string
	proxies []peer.Proxy
	cert    peer.Certificate
	backend *exec.Cmd
	addr    netip.AddrPort
}

// measure runs the scenarios and writes the report as it grows.
func measure(ctx context.Context, o options, out io.Writer) (err error) {
	if runtime.NumCPU() < 2 {
		return fmt.Errorf("the machine has one core: the proxy needs one and client and backend another")
	}
	if o.Out != "" {
		f, err := os.Create(o.Out)
		if err != nil {
			return fmt.Errorf("open the report: %w", err)
		}
		defer f.Close()
		out = io.MultiWriter(out, f)
	}
	b := &bench{options: o}
	for _, p := range peer.All(o.Weir) {
		if slices.Contains(o.Proxies, p.Name) {
			b.proxies = append(b.proxies, p)
		}
	}
	head, err := describe(o, b.proxies)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(out, head); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if b.self, err = os.Executable(); err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if err := raiseFiles(); err != nil {
		return err
	}
	if b.cert, err = peer.NewCertificate(); err != nil {
		return err
	}
	if err := b.startBackend(); err != nil {
		return err
	}
	defer func() {
		// It is stateless and ends by being killed, which Wait reports as an error.
		_ = b.backend.Process.Kill()
		_ = b.backend.Wait()
	}()
	for _, s := range scenario.All() {
		if o.Only != "" && s.Name != o.Only {
			continue
		}
		t, err := b.scenario(ctx, s)
		if err != nil {
			return err
		}
		if err := t.Write(out); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) startBackend() error {
	b.backend = exec.Command(b.self, "backend")
	b.backend.Env = roleEnv()
	b.backend.Stderr = os.Stderr
	out, err := b.backend.StdoutPipe()
	if err != nil {
		return fmt.Errorf("start the backend: %w", err)
	}
	if err := proc.StartOn(b.backend, loadCore); err != nil {
		return fmt.Errorf("start the backend: %w", err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return fmt.Errorf("read the backend's address: %w", err)
	}
	if b.addr, err = netip.ParseAddrPort(strings.TrimSpace(line)); err != nil {
		return fmt.Errorf("read the backend's address: %w", err)
	}
	return nil
}

// roleEnv keeps the runtime's preemption signals off the roles: they wait in system calls that the runtime does not
// know of, and it would interrupt each wait after 10 ms.
func roleEnv() []string { return append(os.Environ(), "GODEBUG=asyncpreemptoff=1") }

// scenario measures every proxy in every variant, interleaved, and makes the table.
func (b *bench) scenario(ctx context.Context, s scenario.Scenario) (report.Table, error) {
	t := newTable(s, b.proxies)
	for round := range b.Rounds {
		for i := range t.Rows {
			row := &t.Rows[i]
			p, v := t.cases[i].proxy, t.cases[i].variant
			fmt.Fprintf(os.Stderr, "bench: %s, round %d of %d: %s\n", s.Name, round+1, b.Rounds, row.Name)
			o, notes, err := b.sample(ctx, s, p, v)
			if ctx.Err() != nil {
				return t.Table, ctx.Err()
			}
			if err != nil {
				t.Notes = append(t.Notes, fmt.Sprintf("%s, round %d: **not counted**: %v", row.Name, round+1, err))
				continue
			}
			t.add(row, s, o)
			for _, n := range notes {
				t.Notes = append(t.Notes, fmt.Sprintf("%s, round %d: %s", row.Name, round+1, n))
			}
		}
	}
	return t.Table, nil
}

// sample starts a proxy, measures it once and stops it.
func (b *bench) sample(ctx context.Context, s scenario.Scenario, p peer.Proxy, v scenario.Variant) (outcome, []string, error) {
	setup := v.Setup
	setup.Backend, setup.Mode, setup.TLS, setup.Cert = b.addr, s.Mode, s.TLS, b.cert
	var err error
	if setup.Listen, err = freePort(); err != nil {
		return outcome{}, nil, err
	}
	if setup.Dir, err = os.MkdirTemp("", "weir-bench-"+p.Name+"-"); err != nil {
		return outcome{}, nil, fmt.Errorf("make a directory: %w", err)
	}
	defer os.RemoveAll(setup.Dir)
	cmd, stop, err := start(ctx, p, setup)
	if err != nil {
		return outcome{}, nil, err
	}
	defer stop()
	j := job{Load: s.Load, Park: s.Figure == scenario.PerConn, Settle: time.Second, Proxy: cmd.Process.Pid, Backend: b.backend.Process.Pid}
	j.Load.Addr = setup.Listen.String()
	if s.TLS {
		j.Load.Cert = b.cert.DER
	}
	j.Load.Measure = seconds(b.Seconds)
	j.Load.Warmup = min(j.Load.Measure/2, time.Second)
	o, err := b.load(ctx, j)
	if err != nil {
		return o, nil, err
	}
	if w := o.Wrong(); w > 0 {
		return o, nil, fmt.Errorf("%d wrong answers: %d statuses, %d lengths, %d broken off, %d unanswered",
			w, o.BadStatus, o.BadLength, o.Broken, o.Unanswered)
	}
	if o.Answered == 0 {
		return o, nil, fmt.Errorf("nothing was answered within %v", j.Load.Measure)
	}
	notes := judge(s, o)
	stop()
	if setup.AccessLog {
		n, err := lines(setup.LogFile())
		if err != nil {
			return o, nil, err
		}
		// The last buffer may be lost when the proxy stops; more than that means it did not log.
		if float64(n) < 0.95*float64(o.Answered) {
			return o, nil, fmt.Errorf("%d log lines for %d requests", n, o.Answered)
		}
	}
	return o, notes, nil
}

// load runs the client and returns what it counted.
func (b *bench) load(ctx context.Context, j job) (outcome, error) {
	var o outcome
	orders, err := json.Marshal(j)
	if err != nil {
		return o, fmt.Errorf("encode the job: %w", err)
	}
	cmd := exec.CommandContext(ctx, b.self, "load")
	cmd.Env = roleEnv()
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(orders), &out, os.Stderr
	if err := proc.StartOn(cmd, loadCore); err != nil {
		return o, fmt.Errorf("start the client: %w", err)
	}
	if err := cmd.Wait(); err != nil {
		return o, fmt.Errorf("run the client: %w", err)
	}
	if err := json.Unmarshal(out.Bytes(), &o); err != nil {
		return o, fmt.Errorf("read the client's report: %w", err)
	}
	if o.Err != "" {
		return o, fmt.Errorf("client: %s", o.Err)
	}
	return o, nil
}

// start runs a proxy and waits until it answers. Stop may be called twice.
func start(ctx context.Context, p peer.Proxy, s peer.Setup) (*exec.Cmd, func(), error) {
	cmd, err := p.Command(s)
	if err != nil {
		return nil, nil, err
	}
	err = proc.StartOn(cmd, proxyCore)
	for _, w := range []io.Writer{cmd.Stdout, cmd.Stderr} {
		if f, ok := w.(*os.File); ok {
			f.Close() // The child has its own.
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("start %s: %w", p.Name, err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // It was told to end; how it ended is of no interest.
		close(ended)
	}()
	stop := func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
	}
	if err := ready(ctx, s, ended); err != nil {
		stop()
		said, _ := os.ReadFile(cmd.Dir + "/output") // An unreadable file says nothing.
		return nil, nil, fmt.Errorf("%s %w; it says: %.500s", p.Name, err, bytes.Join(bytes.Fields(said), []byte(" ")))
	}
	return cmd, stop, nil
}

// freePort finds a port that was free a moment ago.
func freePort() (netip.AddrPort, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return netip.ParseAddrPort(l.Addr().String())
}

// lines counts the lines of a file.
func lines(path string) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("count log lines: %w", err)
	}
	defer f.Close()
	n, buf := 0, make([]byte, 256<<10)
	for {
		k, err := f.Read(buf)
		n += bytes.Count(buf[:k], []byte("\n"))
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, fmt.Errorf("count log lines: %w", err)
		}
	}
}
