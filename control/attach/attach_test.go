// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"fmt"
	"slices"
	"testing"
)

func TestMeet(t *testing.T) {
	for _, tt := range []struct{ a, b, want string }{
		{"*", "a.com", "a.com"},
		{"a.com", "a.com", "a.com"},
		{"*.com", "a.com", "a.com"},
		{"*.com", "a.b.com", "a.b.com"},
		{"*.com", "*.b.com", "*.b.com"},
		{"*.com", "com", ""},
		{"*.b.com", "b.com", ""},
		{"*.b.com", "ab.com", ""},
		{"*.b.com", "*.c.com", ""},
		{"a.com", "b.com", ""},
		{"*.b.com", "*", "*.b.com"},
		{"*", "*", "*"},
	} {
		for _, pair := range [][2]string{{tt.a, tt.b}, {tt.b, tt.a}} {
			if got, ok := Meet(pair[0], pair[1]); got != tt.want || ok != (tt.want != "") {
				t.Errorf("%s and %s meet in %q, %v; want %q", pair[0], pair[1], got, ok, tt.want)
			}
		}
	}
}

func TestCompareHosts(t *testing.T) {
	want := []string{"long.example.com", "a.com", "b.com", "*.example.com", "*.com", "*"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, CompareHosts)
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestWider(t *testing.T) {
	for host, want := range map[string]string{
		"a.b.com": "[*.b.com *.com *]", "*.b.com": "[*.com *]", "com": "[*]", "*.com": "[*]", "*": "[]",
	} {
		if got := fmt.Sprint(Wider(host)); got != want {
			t.Errorf("%s: %s, want %s", host, got, want)
		}
		for _, w := range Wider(host) {
			if !Covers(w, host) {
				t.Errorf("%s does not cover %s", w, host)
			}
		}
	}
}
