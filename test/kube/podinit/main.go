// SPDX-License-Identifier: Apache-2.0

// Command podinit becomes a container: it reads a container.Container, joins the pod's network, makes the root that
// the container sees, lets go of what the container must not have, and executes the container's program in its own
// place. The kubelet starts it in mount, process, host name and IPC namespaces of its own.
//
// It is a program of its own, and depends on next to nothing, because one starts for every container.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"weir.dev/weir/test/kube/podinit/container"
)

func main() {
	// What is joined here is joined by this thread alone, and kept by the program that this thread executes.
	runtime.LockOSThread()
	if err := become(); err != nil {
		fmt.Fprintln(os.Stderr, "podinit:", err)
		os.Exit(container.Unstarted)
	}
}

// become does not return unless something fails.
func become() error {
	var c container.Container
	in := os.NewFile(container.File, "container")
	if err := json.NewDecoder(in).Decode(&c); err != nil {
		return fmt.Errorf("read what to become: %w", err)
	}
	in.Close()
	if len(c.Command) == 0 {
		return errors.New("the container has no command, and its image no entry point")
	}
	if err := joinNetwork(c.Network); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(c.Hostname)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	if err := makeRoot(c); err != nil {
		return err
	}
	// As container runtimes have it: ports below 1024 are for everyone within a pod.
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("0"), 0o644); err != nil {
		return fmt.Errorf("open the ports below 1024: %w", err)
	}
	if c.ReadOnlyRoot {
		if err := unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("make the root read-only: %w", err)
		}
	}
	if err := becomeUser(c.User, c.Group); err != nil {
		return err
	}
	if c.Dir != "" {
		if err := os.Chdir(c.Dir); err != nil {
			return fmt.Errorf("go to the working directory: %w", err)
		}
	}
	program := find(c.Command[0], c.Env)
	if err := unix.Exec(program, c.Command, c.Env); err != nil {
		return fmt.Errorf("execute %s: %w", program, err)
	}
	return nil
}

// find looks a program without a path for in the container's PATH.
func find(name string, env []string) string {
	if strings.Contains(name, "/") {
		return name
	}
	for _, e := range env {
		path, ok := strings.CutPrefix(e, "PATH=")
		if !ok {
			continue
		}
		for dir := range strings.SplitSeq(path, ":") {
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
				return filepath.Join(dir, name)
			}
		}
	}
	return name
}

func joinNetwork(file string) error {
	ns, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("open the pod's network: %w", err)
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("join the pod's network: %w", err)
	}
	return nil
}

// makeRoot mounts what the container sees and makes it the whole of what can be seen.
func makeRoot(c container.Container) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount(c.Root, c.Root, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mount the root: %w", err)
	}
	devices := []string{"null", "zero", "full", "random", "urandom"}
	mounts := c.Mounts
	for _, d := range devices {
		mounts = append(mounts, container.Mount{Source: "/dev/" + d, Target: "/dev/" + d})
	}
	for _, m := range mounts {
		if err := bind(c.Root, m); err != nil {
			return err
		}
	}
	proc, tmp := filepath.Join(c.Root, "proc"), filepath.Join(c.Root, "tmp")
	if err := errors.Join(os.MkdirAll(proc, 0o555), os.MkdirAll(tmp, 0o777), os.Chmod(tmp, 0o1777)); err != nil {
		return err
	}
	if err := unix.Mount("proc", proc, "proc", unix.MS_NOSUID|unix.MS_NOEXEC|unix.MS_NODEV, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	for name, to := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"} {
		if err := os.Symlink(to, filepath.Join(c.Root, "dev", name)); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	if err := os.Chdir(c.Root); err != nil {
		return err
	}
	// pivot_root(2): with both arguments ".", the old root comes to lie on the new one, and is taken off.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("enter the root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the old root: %w", err)
	}
	return os.Chdir("/")
}

// bind shows one file or folder of the node within root.
func bind(root string, m container.Mount) error {
	target := filepath.Join(root, m.Target)
	info, err := os.Stat(m.Source)
	if err != nil {
		return fmt.Errorf("mount %s: %w", m.Target, err)
	}
	if info.IsDir() {
		err = os.MkdirAll(target, 0o755)
	} else if err = os.MkdirAll(filepath.Dir(target), 0o755); err == nil {
		var f *os.File
		if f, err = os.OpenFile(target, os.O_CREATE|os.O_RDONLY, 0o755); err == nil {
			err = f.Close()
		}
	}
	if err != nil {
		return fmt.Errorf("mount %s: %w", m.Target, err)
	}
	if err := unix.Mount(m.Source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mount %s at %s: %w", m.Source, m.Target, err)
	}
	if m.ReadOnly {
		if err := unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("make %s read-only: %w", m.Target, err)
		}
	}
	return nil
}

// becomeUser gives up root, if it is to, and with it every capability.
func becomeUser(user, group int) error {
	if user == 0 && group == 0 {
		return nil
	}
	// Of this thread alone, as all of the above; the program that it executes has no other.
	for _, call := range []struct {
		name string
		no   uintptr
		args [3]uintptr
	}{
		{"setgroups", unix.SYS_SETGROUPS, [3]uintptr{0, 0, 0}},
		{"setresgid", unix.SYS_SETRESGID, [3]uintptr{uintptr(group), uintptr(group), uintptr(group)}},
		{"setresuid", unix.SYS_SETRESUID, [3]uintptr{uintptr(user), uintptr(user), uintptr(user)}},
	} {
		if _, _, e := unix.RawSyscall(call.no, call.args[0], call.args[1], call.args[2]); e != 0 {
			return fmt.Errorf("become user %d, group %d: %s: %w", user, group, call.name, e)
		}
	}
	return nil
}
