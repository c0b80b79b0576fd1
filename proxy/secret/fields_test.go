// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"testing"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &tlsv3.Secret{}, &tlsv3.CertificateValidationContext{})
}
