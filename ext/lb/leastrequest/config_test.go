// SPDX-License-Identifier: Apache-2.0

package leastrequest

import (
	"testing"

	"weir.dev/weir/proxy/upstream"
)

func TestLedgerIsComplete(t *testing.T) {
	l, err := upstream.ParseLedger(fields)
	if err != nil {
		t.Fatal(err)
	}
	missing, extra := l.Uncovered(Factory().Config.ProtoReflect().Descriptor())
	if len(missing)+len(extra) > 0 {
		t.Errorf("missing %v, extra %v", missing, extra)
	}
}
