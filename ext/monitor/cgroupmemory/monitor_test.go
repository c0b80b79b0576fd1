// SPDX-License-Identifier: Apache-2.0

package cgroupmemory

import (
	"errors"
	"testing"
)

type fake struct {
	used, max uint64
	limited   bool
	err       error
}

func (f fake) Memory() (uint64, error) { return f.used, f.err }

func (f fake) MemoryLimit() (uint64, bool, error) { return f.max, f.limited, nil }

func TestPressure(t *testing.T) {
	tests := []struct {
		name string
		of   fake
		most uint64
		want float64
	}{
		{"the group's limit", fake{used: 50, max: 100, limited: true}, 0, 0.5},
		{"the lower of two", fake{used: 50, max: 100, limited: true}, 80, 0.625},
		{"the lower of two, the other way", fake{used: 50, max: 100, limited: true}, 200, 0.5},
		{"the configuration's alone", fake{used: 50}, 200, 0.25},
		{"none", fake{used: 50}, 0, 0},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			m := &monitor{group: c.of, most: c.most}
			if p, err := m.Pressure(); p != c.want || err != nil {
				t.Errorf("pressure %v (%v), want %v", p, err, c.want)
			}
		})
	}
	gone := errors.New("gone")
	if _, err := (&monitor{group: fake{err: gone}}).Pressure(); !errors.Is(err, gone) {
		t.Errorf("error %v", err)
	}
}
