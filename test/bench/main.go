// SPDX-License-Identifier: Apache-2.0

// Command bench compares Weir with nginx, HAProxy and Caddy: CPU time per request from the kernel's accounting, each
// proxy alone on core 0, client and backend on core 1, alternating runs. README.md says how to read what it prints.
//
// It starts itself again in other roles: "measure" (in a network namespace of its own, when root), "backend" and
// "load". Roles take their orders as JSON on standard input.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"weir.dev/weir/test/bench/peer"
	"weir.dev/weir/test/bench/scenario"
)

// options are the flags, as the measuring role gets them.
type options struct {
	// Only is the scenario to run, "" for all.
	Only    string
	Rounds  int
	Seconds float64
	Proxies []string
	// Weir is the path of Weir's binary.
	Weir string
	// Out is the file that the report goes to beside standard output; "" for none.
	Out string
}

func main() {
	roles := map[string]func(io.Reader, io.Writer) error{"measure": measureRole, "backend": backendRole, "load": loadRole}
	var err error
	if role := roles[first(os.Args[1:])]; role != nil {
		err = role(os.Stdin, os.Stdout)
	} else {
		err = run(os.Args[1:])
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// parse reads the flags.
func parse(args []string) (options, error) {
	var o options
	var proxies string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&o.Only, "only", "", "run this `scenario` only")
	f.IntVar(&o.Rounds, "rounds", 3, "runs of each proxy, interleaved")
	f.Float64Var(&o.Seconds, "seconds", 4, "length of a run")
	f.StringVar(&proxies, "proxies", "weir,nginx,haproxy,caddy", "what to compare")
	f.StringVar(&o.Weir, "weir", "", "`path` of weir's binary (default: built from ./cmd/weir)")
	f.StringVar(&o.Out, "o", "", "write the report to this `file` as well")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.Proxies = strings.Split(proxies, ",")
	for _, name := range o.Proxies {
		if !slices.ContainsFunc(peer.All(""), func(p peer.Proxy) bool { return p.Name == name }) {
			return o, fmt.Errorf("no proxy %q: -proxies takes weir, nginx, haproxy and caddy", name)
		}
	}
	var names []string
	for _, s := range scenario.All() {
		names = append(names, s.Name)
	}
	switch {
	case o.Only != "" && !slices.Contains(names, o.Only):
		return o, fmt.Errorf("no scenario %q: -only takes one of %s", o.Only, strings.Join(names, ", "))
	case o.Rounds < 1 || o.Seconds <= 0:
		return o, fmt.Errorf("%d rounds of %v seconds: both must be above 0", o.Rounds, o.Seconds)
	case f.NArg() > 0:
		return o, fmt.Errorf("argument %q is not a flag", f.Arg(0))
	}
	return o, nil
}

// run prepares what needs the network and the module, and measures where neither is at hand.
func run(args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	if err := install(o.Proxies); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "weir-bench-")
	if err != nil {
		return fmt.Errorf("make a directory for weir's binary: %w", err)
	}
	defer os.RemoveAll(tmp)
	if o.Weir == "" && slices.Contains(o.Proxies, "weir") {
		o.Weir = filepath.Join(tmp, "weir")
		build := exec.Command("go", "build", "-o", o.Weir, "weir.dev/weir/cmd/weir")
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("build weir (name a binary with -weir, or leave weir out of -proxies): %w", err)
		}
	}
	for _, p := range []*string{&o.Weir, &o.Out} {
		if *p == "" {
			continue
		}
		if *p, err = filepath.Abs(*p); err != nil {
			return fmt.Errorf("find %s: %w", *p, err)
		}
	}
	if os.Geteuid() != 0 {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return measure(ctx, o, os.Stdout)
	}
	return isolate(o)
}

// isolate measures in a network namespace of its own: no firewall rule, no foreign port, and a congestion control that
// can be chosen without touching the machine.
func isolate(o options) error {
	orders, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("encode options: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	cmd := exec.Command(self, "measure")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(string(orders)), os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	// The child cleans up after itself when told to end, so this process must outlive the signal.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start measuring in a network namespace: %w", err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case sig := <-signals:
			// A signal to a process that has ended is lost, as it should be.
			_ = cmd.Process.Signal(sig)
		case err := <-done:
			if err != nil {
				return fmt.Errorf("measure: %w", err)
			}
			return nil
		}
	}
}

// measureRole is the child of isolate.
func measureRole(in io.Reader, out io.Writer) error {
	var o options
	if err := json.NewDecoder(in).Decode(&o); err != nil {
		return fmt.Errorf("read options: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := loopbackUp(); err != nil {
		return err
	}
	if err := setCongestion(); err != nil {
		return err
	}
	return measure(ctx, o, out)
}

// seconds is a duration from the flag's unit.
func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
