// SPDX-License-Identifier: Apache-2.0

// Package cgroup reads what the kernel tells of the control group that the process is in:
// the memory and processor time that it uses, and how much it may. It knows versions 1
// and 2.
package cgroup

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Root is where control groups are mounted.
const Root = "/sys/fs/cgroup"

// ErrNone is returned where a group has no controller of the kind.
var ErrNone = errors.New("the process is in no control group that accounts for it")

// A Group is the control group of a process.
type Group struct {
	root string
	v2   bool
	// paths are where below its mount point a controller has the group; that of version 2
	// is called "".
	paths map[string]string
}

// Own returns the group of this process, as it is mounted at root.
func Own(root string) (*Group, error) {
	list, err := readFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	return parse(root, list), nil
}

// parse reads /proc/self/cgroup. In a container the path is often that of the host, which
// is not mounted: the container's own group is the root then.
func parse(root, list string) *Group {
	g := &Group{root: root, paths: map[string]string{}}
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err == nil {
		g.v2 = true
	}
	for line := range strings.Lines(list) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		for controller := range strings.SplitSeq(f[1], ",") {
			g.paths[controller] = f[2]
		}
	}
	return g
}

// file reads a file of the group, of a controller that only version 1 has apart; that of the mount's root if
// the group itself has none.
func (g *Group) file(controller, name string) (string, error) {
	if g.v2 {
		controller = ""
	}
	mount := filepath.Join(g.root, controller)
	text, err := readFile(filepath.Join(mount, g.paths[controller], name))
	if errors.Is(err, os.ErrNotExist) {
		text, err = readFile(filepath.Join(mount, name))
	}
	if errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("%w: there is no %s below %s", ErrNone, name, mount)
	}
	return strings.TrimSpace(text), err
}

// most bounds what is read of a file.
const most = 64 << 10

func readFile(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most))
	return string(b), err
}

func (g *Group) number(controller, name string) (uint64, error) {
	text, err := g.file(controller, name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %q is not a number", name, text)
	}
	return n, nil
}
