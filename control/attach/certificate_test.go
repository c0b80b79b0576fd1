// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"strings"
	"testing"
)

func TestKeyOf(t *testing.T) {
	for _, tt := range []struct{ has, seek, want string }{
		{"tls.crt ca.crt root.pem", "ca.crt tls.crt", "ca.crt"},
		{"tls.crt root.pem", "ca.crt tls.crt", "tls.crt"},
		{"root.pem", "ca.crt tls.crt", "root.pem"},
		{"tls.crt", "ca.crt", "tls.crt"},
		{"tls.crt tls.key", "ca.crt", ""},
		{"fake.crt root.pem", "ca.crt tls.crt", ""},
		{"", "ca.crt", ""},
	} {
		data := map[string]string{}
		for _, k := range strings.Fields(tt.has) {
			data[k] = "x"
		}
		if got, ok := KeyOf(data, strings.Fields(tt.seek)...); got != tt.want || ok != (tt.want != "") {
			t.Errorf("of %q for %q: %q, %v, want %q", tt.has, tt.seek, got, ok, tt.want)
		}
	}
}
