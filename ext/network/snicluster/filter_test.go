// SPDX-License-Identifier: Apache-2.0

package snicluster

import (
	"testing"

	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/streaminfo"
)

func TestAccept(t *testing.T) {
	for _, name := range []string{"", "a.example.com"} {
		c := conn.New(nil, &streaminfo.Connection{ServerName: name}, nil)
		if err := (filter{}).Accept(nil, c); err != nil {
			t.Fatal(err)
		}
		if o, ok := c.Info.FilterState[clusterKey]; o.Text != name || ok != (name != "") {
			t.Errorf("%q: %+v", name, o)
		}
	}
}
