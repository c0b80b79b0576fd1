// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"strconv"
	"testing"

	"weir.dev/weir/proxy/header"
)

// FuzzNumber compares the numbers of headers with the standard library's.
func FuzzNumber(f *testing.F) {
	for _, s := range []string{"", "0", "007", "-1", "+1", " 1", "12x", "9223372036854775800", "9223372036854775807", "99999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var h header.Map
		h.Add(ask.delay, s)
		got, ok := number(&h, ask.delay)
		want, err := strconv.ParseUint(s, 10, 63)
		if ok && (err != nil || got != int64(want)) || !ok && err == nil && want < 1<<62/10 {
			t.Fatalf("%q: %d %v, want %d %v", s, got, ok, want, err)
		}
	})
}
