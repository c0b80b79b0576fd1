// SPDX-License-Identifier: Apache-2.0

package statefulsession

import (
	"testing"

	statefulsessionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/stateful_session/v3"
	cookiev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/cookie/v3"
	headerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/header/v3"

	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &statefulsessionv3.StatefulSession{}, &statefulsessionv3.StatefulSessionPerRoute{},
		&cookiev3.CookieBasedSessionState{}, &headerv3.HeaderBasedSessionState{})
}
