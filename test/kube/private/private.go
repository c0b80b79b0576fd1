// SPDX-License-Identifier: Apache-2.0

// Package private runs a program in namespaces of its own, so that nothing it does or leaves can be seen outside:
// network, mounts, processes, IPC. When the first process within ends, by whatever cause, the kernel ends all others and
// takes down the networks and the mounts.
//
// It needs root; Possible says whether, and why not.
package private

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// variable tells a process that it is the one within.
const variable = "WEIR_TEST_KUBE_PRIVATE"

const flags = unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS

// Inside tells whether this process is the first within namespaces that Run made.
func Inside() bool { return os.Getenv(variable) != "" }

// Possible returns nil where Run can make namespaces, and the reason where it cannot.
func Possible() error {
	if os.Getuid() != 0 {
		return errors.New("a cluster needs network, mount and process namespaces, and those need root")
	}
	cmd := exec.Command("/bin/true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("a cluster needs network, mount and process namespaces, which this machine does not permit: %w", err)
	}
	for _, tool := range []string{"ip", "nft", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("a cluster needs %s: install the Debian packages iproute2, nftables and util-linux", tool)
		}
	}
	return nil
}

// Run starts this very program again, with its arguments and more of an environment, in new namespaces, and returns its
// exit status. It hands on SIGINT and SIGTERM; if this process ends, so does the one within. started, unless nil, is given
// the process' number.
func Run(env []string, started func(pid int)) (int, error) {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(append(os.Environ(), env...), variable+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start within namespaces: %w", err)
	}
	if started != nil {
		started(cmd.Process.Pid)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			_ = cmd.Process.Signal(s) // It may have ended already, which is what is asked for.
		case err := <-ended:
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				return max(exit.ExitCode(), 1), nil
			}
			return 0, err
		}
	}
}

// Settle makes a home of the namespaces: a /proc and a /run of their own, where temporary files lie too. The process within
// calls it first; in those that this starts, it does nothing.
func Settle() error {
	if os.Getpid() != 1 {
		return nil
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	for _, m := range [][2]string{{"proc", "/proc"}, {"tmpfs", "/run"}} {
		if err := unix.Mount(m[0], m[1], m[0], unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m[1], err)
		}
	}
	if err := os.Mkdir("/run/tmp", 0o777); err != nil {
		return err
	}
	return os.Setenv("TMPDIR", "/run/tmp")
}
