// SPDX-License-Identifier: Apache-2.0

package omithostmetadata

import (
	"testing"

	omithostmetadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/omit_host_metadata/v3"

	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &omithostmetadatav3.OmitHostMetadataConfig{})
}
