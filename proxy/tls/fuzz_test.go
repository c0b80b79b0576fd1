// SPDX-License-Identifier: Apache-2.0

package tls

import "testing"

// FuzzRecords reads whatever comes as records and as a ServerHello.
func FuzzRecords(f *testing.F) {
	f.Add([]byte{22, 3, 3, 0, 4, 2, 0, 0, 0, 23, 3, 3, 0, 0}, 3)
	f.Add(append([]byte{22, 3, 3, 0, 80, 2, 0, 0, 76, 3, 3}, make([]byte, 70)...), 1)
	f.Fuzz(func(t *testing.T, b []byte, step int) {
		if id := sessionID(b); len(id) > 32 {
			t.Errorf("a session ID of %d bytes", len(id))
		}
		var whole, parts framing
		whole.take(b)
		step = max(1, step&0xff)
		for p := b; len(p) > 0; {
			n := min(step, len(p))
			parts.take(p[:n])
			p = p[n:]
		}
		if whole != parts {
			t.Errorf("in steps of %d: %+v, at once: %+v", step, parts, whole)
		}
	})
}

// FuzzCipherSuites reads lists as people write them.
func FuzzCipherSuites(f *testing.F) {
	f.Add("[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-RSA-AES128-GCM-SHA256]:AES128-SHA")
	f.Add("[|]")
	f.Fuzz(func(t *testing.T, s string) {
		ids, err := cipherSuites([]string{s})
		if err == nil && len(ids) > len(suites()) {
			t.Errorf("%d suites of %q", len(ids), s)
		}
	})
}
