// SPDX-License-Identifier: Apache-2.0

package golden

import "testing"

func TestParseFormat(t *testing.T) {
	const text = "what it shows\n-- in.yaml --\na: 1\n-- empty --\n-- out --\nx -- y\n"
	a := Parse(text)
	if a.Comment != "what it shows\n" || len(a.Files) != 3 {
		t.Fatalf("Parse = %+v", a)
	}
	if got, ok := a.Get("out"); !ok || got != "x -- y\n" {
		t.Errorf("out = %q, %v", got, ok)
	}
	if got := Format(a); got != text {
		t.Errorf("Format = %q", got)
	}
	a.Set("out", "z")
	if got, _ := a.Get("out"); got != "z\n" {
		t.Errorf("after Set: %q", got)
	}
}
