// SPDX-License-Identifier: Apache-2.0

package clienthello

import "testing"

// FuzzScan: whatever arrives, in whatever pieces, is judged alike, and never
// asks for more than the limit.
func FuzzScan(f *testing.F) {
	hello := message(body(0x0303, nums(0x1301, 0x0a0a), sni("a.test")+alpn("h2")+ext(10, block16(nums(29)))+ext(11, block8("\x00"))+ext(13, block16(nums(0x0403)))+ext(43, block8(nums(0x0304)))))
	for _, n := range []int{1, 7, maxRecord} {
		f.Add([]byte(records(hello, n)))
	}
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		const limit = 4096
		for n, want := 0, 1; want > 0; {
			if want <= n || want > limit {
				t.Fatalf("after %d bytes it wants %d", n, want)
			}
			if n = want; n > len(in) {
				return
			}
			b := append([]byte(nil), in[:n]...)
			body, used, w, err := Scan(b, limit)
			if err != nil {
				return
			}
			if want = w; want > 0 {
				continue
			}
			if used > n || len(body) > used {
				t.Fatalf("%d of %d bytes used for %d", used, n, len(body))
			}
			if h, err := Parse(body); err == nil {
				if len(h.JA3()) != 32 || len(h.JA4()) != 36 {
					t.Fatalf("%s %s", h.JA3(), h.JA4())
				}
				h.Protocols()
				h.ServerName()
			}
		}
	})
}
