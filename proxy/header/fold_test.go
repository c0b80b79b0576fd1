// SPDX-License-Identifier: Apache-2.0

package header

import "testing"

func TestEqualLower(t *testing.T) {
	for _, tt := range []struct {
		s, lower string
		want     bool
	}{
		{"", "", true}, {"H2c", "h2c", true}, {"h2c", "h2c", true}, {"h2", "h2c", false}, {"h2cc", "h2c", false},
		{"@[`{", "@[`{", true}, {"@", "`", false}, {"[", "{", false}, {"\xc4", "\xe4", false},
	} {
		if got := EqualLower(tt.s, tt.lower); got != tt.want {
			t.Errorf("%q %q: %v", tt.s, tt.lower, got)
		}
		if got := EqualLower([]byte(tt.s), tt.lower); got != tt.want {
			t.Errorf("bytes %q %q: %v", tt.s, tt.lower, got)
		}
	}
}
