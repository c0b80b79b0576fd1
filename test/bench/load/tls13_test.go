// SPDX-License-Identifier: Apache-2.0

package load

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

// TestExpand uses the trace of RFC 8448 §3: the handshake traffic key of the server from its secret.
func TestExpand(t *testing.T) {
	secret, err := hex.DecodeString("b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38")
	if err != nil {
		t.Fatal(err)
	}
	for label, want := range map[string]string{"key": "3fce516009c21727d0f2e4e86ee403bc", "iv": "5d313eb2671276ee13000b30"} {
		got, err := expand(secret, label, nil, len(want)/2)
		if err != nil || hex.EncodeToString(got) != want {
			t.Errorf("%s: %x, %v; want %s", label, got, err, want)
		}
	}
}

func TestRecordsOpenAsSealed(t *testing.T) {
	secret := bytes.Repeat([]byte{7}, 32)
	a, err := newHalf(secret, "c ap traffic", secret)
	if err != nil {
		t.Fatal(err)
	}
	b, err := newHalf(secret, "c ap traffic", secret)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"first", "second"} {
		typ, got, err := b.open(a.seal(nil, applicationData, []byte(text)))
		if err != nil || typ != applicationData || string(got) != text {
			t.Errorf("%d %q, %v", typ, got, err)
		}
	}
	sealed := a.seal(nil, alert, []byte("x"))
	sealed[7] ^= 1
	if _, _, err := b.open(sealed); err == nil {
		t.Error("a changed record is opened")
	}
}

// helloOf is a ServerHello with the given cipher suite and extensions.
func helloOf(suite string, extensions string) []byte {
	body := "\x03\x03" + strings.Repeat("r", 32) + "\x00" + suite + "\x00" + string([]byte{0, byte(len(extensions))}) + extensions
	return append([]byte{serverHello, 0, 0, byte(len(body))}, body...)
}

func TestKeyShare(t *testing.T) {
	const version = "\x00\x2b\x00\x02\x03\x04"
	share := "\x00\x33\x00\x24\x00\x1d\x00\x20" + strings.Repeat("k", 32)
	for name, tc := range map[string]struct{ suite, extensions, want string }{
		"agreed":        {"\x13\x01", version + share, ""},
		"resumed":       {"\x13\x01", version + share + "\x00\x29\x00\x02\x00\x00", "resumed"},
		"other suite":   {"\x13\x02", version + share, "cipher suite 1302"},
		"TLS 1.2":       {"\x13\x01", share, "not TLS 1.3"},
		"other curve":   {"\x13\x01", version + "\x00\x33\x00\x02\x00\x17", "not TLS 1.3 with X25519"},
		"cut extension": {"\x13\x01", version + share[:20], "ends early"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := keyShare(helloOf(tc.suite, tc.extensions))
			if tc.want == "" {
				if err != nil || string(got) != strings.Repeat("k", 32) {
					t.Errorf("%q, %v", got, err)
				}
			} else if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

func FuzzKeyShare(f *testing.F) {
	f.Add(helloOf("\x13\x01", "\x00\x2b\x00\x02\x03\x04"))
	f.Add([]byte{serverHello, 0, 0, 0})
	f.Fuzz(func(t *testing.T, m []byte) {
		if share, err := keyShare(m); err == nil && len(share) != 32 {
			t.Fatalf("a share of %d bytes", len(share))
		}
	})
}
