// SPDX-License-Identifier: Apache-2.0

package match

// Fraction is a share of N in Of, such as 25 in 100. The zero Fraction is
// nothing.
type Fraction struct {
	N  uint32
	Of uint32 // 100, 10,000 or 1,000,000; 0 counts as 100
}

// All is the fraction of everything.
var All = Fraction{100, 100}

// Enabled reports whether a random number falls into the fraction: the same
// number always gives the same answer.
func (f Fraction) Enabled(random uint64) bool {
	of := f.Of
	if of == 0 {
		of = 100
	}
	return random%uint64(of) < uint64(f.N)
}

// RuntimeFraction is a Fraction that an operator may override by a runtime
// key, as envoy.config.core.v3.RuntimeFractionalPercent.
type RuntimeFraction struct {
	Default Fraction
	Key     string
}

// Value returns the fraction in force; rt may be nil.
func (f *RuntimeFraction) Value(rt Runtime) Fraction {
	if f.Key != "" && rt != nil {
		if v, ok := rt.Fraction(f.Key); ok {
			return v
		}
	}
	return f.Default
}

// Enabled reports whether a random number falls into the fraction in force.
func (f *RuntimeFraction) Enabled(rt Runtime, random uint64) bool {
	return f.Value(rt).Enabled(random)
}
