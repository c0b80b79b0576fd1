// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// tree makes files below a root.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestMemory(t *testing.T) {
	tests := []struct {
		name, list string
		files      map[string]string
		used, max  uint64
		limited    bool
	}{
		{
			name: "version 2", list: "0::/pod/c\n",
			files: map[string]string{"cgroup.controllers": "", "pod/c/memory.current": "1000\n", "pod/c/memory.max": "4000\n", "memory.current": "7"},
			used:  1000, max: 4000, limited: true,
		},
		{
			name: "version 2 without a limit", list: "0::/\n",
			files: map[string]string{"cgroup.controllers": "", "memory.current": "1000\n", "memory.max": "max\n"},
			used:  1000,
		},
		{
			name: "version 2 in a container that is told the host's path", list: "0::/kubepods/pod1/c1\n",
			files: map[string]string{"cgroup.controllers": "", "memory.current": "1000\n", "memory.max": "4000\n"},
			used:  1000, max: 4000, limited: true,
		},
		{
			name: "version 1", list: "5:cpu,cpuacct:/other\n4:memory:/a\n0::/\n",
			files: map[string]string{"memory/a/memory.usage_in_bytes": "1000\n", "memory/a/memory.limit_in_bytes": "4000\n"},
			used:  1000, max: 4000, limited: true,
		},
		{
			name: "version 1 without a limit", list: "4:memory:/a\n",
			files: map[string]string{"memory/memory.usage_in_bytes": "1000\n", "memory/memory.limit_in_bytes": "9223372036854771712\n"},
			used:  1000, max: 9223372036854771712,
		},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			g := parse(tree(t, c.files), c.list)
			used, err := g.Memory()
			if err != nil || used != c.used {
				t.Errorf("used %d (%v), want %d", used, err, c.used)
			}
			limit, limited, err := g.MemoryLimit()
			if err != nil || limit != c.max || limited != c.limited {
				t.Errorf("limit %d, %v (%v), want %d, %v", limit, limited, err, c.max, c.limited)
			}
		})
	}
}

func TestCPU(t *testing.T) {
	tests := []struct {
		name, list string
		files      map[string]string
		used       time.Duration
		cpus       float64
	}{
		{
			name: "version 2", list: "0::/c\n",
			files: map[string]string{
				"cgroup.controllers": "", "c/cpu.stat": "usage_usec 2500000\nuser_usec 1\n", "c/cpu.max": "150000 100000\n", "c/cpuset.cpus.effective": "0-3,8\n",
			},
			used: 2500 * time.Millisecond, cpus: 1.5,
		},
		{
			name: "version 2 without a quota", list: "0::/c\n",
			files: map[string]string{"cgroup.controllers": "", "c/cpu.stat": "usage_usec 7\n", "c/cpu.max": "max 100000\n", "c/cpuset.cpus.effective": "0-3,8\n"},
			used:  7 * time.Microsecond, cpus: 5,
		},
		{
			name: "the root of version 2", list: "0::/\n",
			files: map[string]string{"cgroup.controllers": "", "cpu.stat": "usage_usec 7\n", "cpuset.cpus.effective": "0-1\n"},
			used:  7 * time.Microsecond, cpus: 2,
		},
		{
			name: "version 1", list: "3:cpu,cpuacct:/c\n",
			files: map[string]string{"cpuacct/c/cpuacct.usage": "5000000000\n", "cpu/c/cpu.shares": "512\n"},
			used:  5 * time.Second, cpus: 0.5,
		},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			g := parse(tree(t, c.files), c.list)
			used, err := g.CPUTime()
			if err != nil || used != c.used {
				t.Errorf("used %v (%v), want %v", used, err, c.used)
			}
			cpus, err := g.CPUs()
			if err != nil || cpus != c.cpus {
				t.Errorf("%v processors (%v), want %v", cpus, err, c.cpus)
			}
		})
	}
}

func TestNone(t *testing.T) {
	g := parse(t.TempDir(), "")
	if _, err := g.Memory(); !errors.Is(err, ErrNone) {
		t.Errorf("error %v, want ErrNone", err)
	}
	if _, err := g.CPUs(); !errors.Is(err, ErrNone) {
		t.Errorf("error %v, want ErrNone", err)
	}
}

// TestMalformed feeds what no kernel writes.
func TestMalformed(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"quota":     {"cpu.max": "a b", "cpuset.cpus.effective": "0"},
		"period":    {"cpu.max": "1 0", "cpuset.cpus.effective": "0"},
		"no period": {"cpu.max": "1", "cpuset.cpus.effective": "0"},
		"set":       {"cpu.max": "max 1", "cpuset.cpus.effective": "3-1"},
		"empty":     {"cpu.max": "max 1", "cpuset.cpus.effective": ""},
	} {
		files["cgroup.controllers"] = ""
		if n, err := parse(tree(t, files), "0::/").CPUs(); err == nil {
			t.Errorf("%s: %v processors and no error", name, n)
		}
	}
}

// TestOwn reads the groups that the test itself is in, of whichever version there is.
func TestOwn(t *testing.T) {
	g, err := Own(Root)
	if err != nil {
		t.Fatal(err)
	}
	used, err := g.Memory()
	if errors.Is(err, ErrNone) {
		t.Skip("there is no memory controller here")
	}
	if err != nil || used == 0 {
		t.Errorf("%d bytes in use (%v)", used, err)
	}
}
