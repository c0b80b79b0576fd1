// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestParseStat(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     Stat
		err      string
	}{
		{
			"nginx worker",
			"4242 (nginx) S 4241 4241 4241 0 -1 4194368 321 0 0 0 150 250 3 4 20 0 1 0 1234 1 2 3\n",
			Stat{PID: 4242, Parent: 4241, CPU: 4070 * time.Millisecond}, "",
		},
		{
			"brackets in the name",
			"7 (a) R 9 (b)) S 1 7 7 0 -1 0 0 0 0 0 1 2 0 0 20 0 1 0 1\n",
			Stat{PID: 7, Parent: 1, CPU: 30 * time.Millisecond}, "",
		},
		{"no brackets", "7 a S 1", Stat{}, "no command in brackets"},
		{"short", "7 (a) S 1 7", Stat{}, "want at least 17"},
		{"no number", "7 (a) S 1 7 7 0 -1 0 0 0 0 0 x 2 0 0 20", Stat{}, "times"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := ParseStat([]byte(tc.in))
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("error %v, want one with %q", err, tc.err)
				}
				return
			}
			if err != nil || got != tc.want {
				t.Fatalf("got %+v, %v; want %+v", got, err, tc.want)
			}
		})
	}
}

func TestParseRSSAndBusy(t *testing.T) {
	if n, err := parseRSS("Name:\ta\nVmRSS:\t    1024 kB\nThreads:\t1\n"); err != nil || n != 1<<20 {
		t.Errorf("VmRSS is %d, %v", n, err)
	}
	if n, err := parseRSS("Name:\ta\nState:\tZ\n"); err != nil || n != 0 {
		t.Errorf("a zombie has %d, %v", n, err)
	}
	const stat = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 1 2 4 100 200 8 16 32 0 0\ncpu1 0 0 0 5 0 0 0 0 0 0\n"
	if d, err := parseBusy(stat, 0); err != nil || d != 630*time.Millisecond {
		t.Errorf("core 0 was busy for %v, %v", d, err)
	}
	if _, err := parseBusy(stat, 2); err == nil {
		t.Error("a core that is not there has times")
	}
}

func TestStartOnOneCoreAndReadTheTree(t *testing.T) {
	var mine unix.CPUSet
	if err := unix.SchedGetaffinity(0, &mine); err != nil {
		t.Fatal(err)
	}
	core := 0
	for !mine.IsSet(core) {
		core++
	}
	// The shell has a child of its own; both wait for the pipe's end.
	cmd := exec.Command("sh", "-c", "cat; exit 0")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := StartOn(cmd, core); err != nil {
		t.Fatal(err)
	}
	// An echo proves that the child runs.
	if _, err := in.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	tree, err := Tree(cmd.Process.Pid)
	if err != nil || len(tree) != 2 || tree[0].PID != cmd.Process.Pid || tree[1].Parent != cmd.Process.Pid {
		t.Errorf("the tree is %+v, %v; want a shell and its child", tree, err)
	}
	for _, st := range tree {
		var set unix.CPUSet
		if err := unix.SchedGetaffinity(st.PID, &set); err != nil || set.Count() != 1 || !set.IsSet(core) {
			t.Errorf("process %d may run on %d cores, %v; want core %d alone", st.PID, set.Count(), err, core)
		}
	}
	if n, err := RSS(cmd.Process.Pid); err != nil || n <= 0 {
		t.Errorf("RSS is %d, %v", n, err)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := CPU(cmd.Process.Pid); err == nil {
		t.Error("a process that has ended has a tree")
	}
	if d, err := CPU(os.Getpid()); err != nil || d < 0 {
		t.Errorf("this process used %v, %v", d, err)
	}
}
