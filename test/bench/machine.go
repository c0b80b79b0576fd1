// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"weir.dev/weir/test/bench/peer"
)

// install adds the Debian packages of the proxies that are missing, when root, and stops the services that their
// installation starts; services that were there before are left alone. It is an error if something stays missing.
func install(names []string) error {
	var missing, modules []string
	for _, p := range peer.All("") {
		if p.Package == "" || !slices.Contains(names, p.Name) {
			continue
		}
		if _, err := p.Path(); err != nil {
			missing = append(missing, p.Package)
		}
		for file, pkg := range p.Modules {
			if _, err := os.Stat(file); err != nil {
				modules = append(modules, pkg)
			}
		}
	}
	if len(modules) > 0 && os.Geteuid() != 0 && len(missing) == 0 {
		fmt.Fprintf(os.Stderr, "bench: %s not installed: what needs it is not counted\n", strings.Join(modules, ", "))
		return nil
	}
	if len(missing)+len(modules) == 0 {
		return nil
	}
	apt := slices.Concat([]string{"install", "-y", "--no-install-recommends"}, missing, modules)
	if os.Geteuid() != 0 {
		return fmt.Errorf("%s not installed: run as root, or apt-get %s, or leave them out of -proxies",
			strings.Join(missing, ", "), strings.Join(apt, " "))
	}
	for _, args := range [][]string{{"update"}, apt} {
		cmd := exec.Command("apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("apt-get %s: %w", strings.Join(args, " "), err)
		}
	}
	for _, name := range missing {
		// Where no service was started, as in most containers, there is nothing to stop and the error says so.
		if out, err := exec.Command("service", name, "stop").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "bench: stop service %s: %v: %s\n", name, err, out)
		}
	}
	return nil
}

// raiseFiles lets this process and its children open as many files as the scenarios need, or as many as it may.
func raiseFiles() error {
	want := syscall.Rlimit{Cur: 65536, Max: 65536}
	// Only root may raise the hard limit; others take what they have.
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &want); err == nil {
		return nil
	}
	var have syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &have); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	have.Cur = have.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &have); err != nil {
		return fmt.Errorf("raise the limit of open files to %d: %w", have.Max, err)
	}
	return nil
}

// loopbackUp turns on the loopback interface, which a new network namespace has turned off.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open socket: %w", err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("name the loopback interface: %w", err)
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("turn on the loopback interface: %w", err)
	}
	return nil
}

// setCongestion chooses a congestion control that does not pace: BBR's timers make large bodies a matter of chance. A
// network namespace takes only those that the machine allows to everybody, which may not include cubic; reno always is.
func setCongestion() error {
	var err error
	for _, name := range []string{"cubic", "reno"} {
		err = os.WriteFile("/proc/sys/net/ipv4/tcp_congestion_control", []byte(name), 0o644)
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("set congestion control: %w", err)
}

// describe is the report's first lines: the machine and the versions.
func describe(o options, proxies []peer.Proxy) (string, error) {
	var b strings.Builder
	b.WriteString("# Benchmark\n\n")
	for _, p := range proxies {
		v, err := p.Version()
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "- %s %s\n", p.Name, v)
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return "", fmt.Errorf("read the kernel's version: %w", err)
	}
	model := "unknown processor"
	// Not every architecture names its processor; the report can do without.
	if cpu, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.SplitSeq(string(cpu), "\n") {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	cc, err := os.ReadFile("/proc/sys/net/ipv4/tcp_congestion_control")
	if err != nil {
		return "", fmt.Errorf("read the congestion control: %w", err)
	}
	fmt.Fprintf(&b, "- %s, %d cores, Linux %s, %s, congestion control %s\n", model, runtime.NumCPU(),
		unix.ByteSliceToString(uts.Release[:]), runtime.Version(), strings.TrimSpace(string(cc)))
	fmt.Fprintf(&b, "- %d interleaved rounds of %v s; proxy on core %d, client and backend on core %d\n\n",
		o.Rounds, o.Seconds, proxyCore, loadCore)
	return b.String(), nil
}
