// SPDX-License-Identifier: Apache-2.0

package cpuutilization

import (
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"
)

type fake struct{ used, all float64 }

func (f *fake) read() (float64, float64, error) { return f.used, f.all, nil }

func TestPressure(t *testing.T) {
	f := &fake{used: 1000, all: 5000}
	m := &monitor{clock: f}
	if p, err := m.Pressure(); p != 0 || err != nil {
		t.Errorf("the first pressure is %v (%v)", p, err)
	}
	want := 0.0
	for range 200 {
		f.used, f.all = f.used+80, f.all+100
		want = 0.05*0.8 + 0.95*want
		if p, err := m.Pressure(); math.Abs(p-want) > 1e-9 || err != nil {
			t.Fatalf("pressure %v (%v), want %v", p, err, want)
		}
	}
	if math.Abs(want-0.8) > 0.001 {
		t.Errorf("the average comes to %v, want 0.8", want)
	}
	if _, err := m.Pressure(); err == nil {
		t.Error("no error where no time has passed")
	}
	f.used, f.all = 0, f.all+100
	if _, err := m.Pressure(); err == nil {
		t.Error("no error where time went backwards")
	}
}

func TestHost(t *testing.T) {
	file := filepath.Join(t.TempDir(), "stat")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	h := &host{file: file}
	write("cpu  10 20 30 40 50 60 70\ncpu0 1 2 3 4\n")
	if used, all, err := h.read(); used != 60 || all != 100 || err != nil {
		t.Errorf("used %v of %v (%v), want 60 of 100", used, all, err)
	}
	for _, text := range []string{"", "cpu0 1 2 3 4\n", "cpu  1 2 x 4\n", "cpu  1 2 3\n"} {
		write(text)
		if _, _, err := h.read(); err == nil {
			t.Errorf("no error for %q", text)
		}
	}
	real := &host{file: "/proc/stat"}
	if used, all, err := real.read(); used <= 0 || all < used || err != nil {
		t.Errorf("this machine has used %v of %v (%v)", used, all, err)
	}
}

type group struct {
	used time.Duration
	cpus float64
}

func (g *group) CPUTime() (time.Duration, error) { return g.used, nil }

func (g *group) CPUs() (float64, error) { return g.cpus, nil }

func TestContainer(t *testing.T) {
	now := time.Unix(1000, 0)
	g := &group{used: 100 * time.Second, cpus: 2}
	m := &monitor{clock: &container{group: g, now: func() time.Time { return now }}}
	if _, err := m.Pressure(); err != nil {
		t.Fatal(err)
	}
	now, g.used = now.Add(time.Second), g.used+time.Second // Half of what two processors have.
	if p, err := m.Pressure(); math.Abs(p-0.05*0.5) > 1e-9 || err != nil {
		t.Errorf("pressure %v (%v), want 0.025", p, err)
	}
	now, g.used, g.cpus = now.Add(time.Second), g.used+time.Second, 1 // All of one.
	if p, err := m.Pressure(); math.Abs(p-(0.05*1+0.95*0.025)) > 1e-9 || err != nil {
		t.Errorf("pressure %v (%v), want 0.07375", p, err)
	}
}
