// SPDX-License-Identifier: Apache-2.0

package match

// A RuntimeNumber is a number that a runtime key replaces while it is set.
type RuntimeNumber struct {
	Default float64
	Key     string // "" is none
}

// Value returns the number as it is now.
func (n RuntimeNumber) Value(r Runtime) float64 {
	if n.Key != "" {
		if v, ok := r.Double(n.Key); ok {
			return v
		}
	}
	return n.Default
}

// A RuntimeFlag is a switch that a runtime key replaces while it is set.
type RuntimeFlag struct {
	Default bool
	Key     string // "" is none
}

// Enabled reports whether the switch is on now. Without a runtime, which may be nil, it is
// as by default.
func (f RuntimeFlag) Enabled(r Runtime) bool {
	if f.Key != "" && r != nil {
		if v, ok := r.Bool(f.Key); ok {
			return v
		}
	}
	return f.Default
}
