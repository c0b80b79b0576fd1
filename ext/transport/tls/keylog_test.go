// SPDX-License-Identifier: Apache-2.0

package tls_test

import (
	"bytes"
	"crypto/tls"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weir.dev/weir/proxy/tls/tlstest"
)

// The key log has the same secrets as the client's own, for the addresses that it is
// asked for, and is written anew after it was moved away.
func TestKeyLog(t *testing.T) {
	server := tlstest.NewCA(t, "test CA").Issue(t, tlstest.Leaf{DNS: []string{"example.com"}})
	for _, tt := range []struct {
		name, ranges string
		want         bool
	}{
		{"all", "", true},
		{"both ends", ", local_address_range: [{address_prefix: 127.0.0.0, prefix_len: 8}], remote_address_range: [{address_prefix: 127.0.0.1, prefix_len: 32}]", true},
		{"other local address", ", local_address_range: [{address_prefix: 10.0.0.0, prefix_len: 8}]", false},
		{"other remote address", ", remote_address_range: [{address_prefix: 10.0.0.0, prefix_len: 8}]", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "keys")
			p := start(t, listener("common_tls_context: {tls_certificates: ["+server.Certificate()+"], key_log: {path: "+path+tt.ranges+"}}"))
			for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				var own bytes.Buffer
				if _, err := dial(t, p, &tls.Config{InsecureSkipVerify: true, MinVersion: v, MaxVersion: v, KeyLogWriter: &own}); err != nil {
					t.Fatal(err)
				}
				got, err := os.ReadFile(path)
				if !tt.want {
					if !os.IsNotExist(err) {
						t.Errorf("logged %q, %v", got, err)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(sorted(own.String()), sorted(string(got))); diff != "" {
					t.Errorf("the client's log (-) and the server's (+):\n%s", diff)
				}
				info, err := os.Stat(path)
				if err != nil {
					t.Fatal(err)
				}
				if info.Mode().Perm() != 0o600 {
					t.Errorf("the file's mode is %v: secrets are nobody else's", info.Mode())
				}
				if err := os.Rename(path, path+".old"); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func sorted(s string) []string {
	l := strings.Split(strings.TrimSpace(s), "\n")
	slices.Sort(l)
	return l
}
