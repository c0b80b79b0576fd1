// SPDX-License-Identifier: Apache-2.0

package rawbuffer

import (
	"testing"

	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", Extension().Config)
}

// A listener or cluster with no transport and one with this are the same: no factory stands in the way of bytes.
func TestBytesStayAsTheyAre(t *testing.T) {
	e := Extension()
	if e.Name != Name {
		t.Errorf("called %q", e.Name)
	}
	if f, err := e.New(e.Config, nil); f != nil || err != nil {
		t.Errorf("got %v, %v; want no transport", f, err)
	}
}
