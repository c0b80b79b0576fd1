// SPDX-License-Identifier: Apache-2.0

package report

import (
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/xds"
)

// Messages returns all messages of a snapshot, as JSON with Envoy's own names for fields, by sort. Of secrets it has
// the names alone. An empty snapshot is nil.
func Messages(s *xds.Snapshot) (map[string][]json.RawMessage, error) {
	var out map[string][]json.RawMessage
	var first error
	add := func(sort string, data []byte, err error) {
		if err != nil && first == nil {
			first = fmt.Errorf("write %s: %w", sort, err)
		}
		if out == nil {
			out = map[string][]json.RawMessage{}
		}
		out[sort] = append(out[sort], data)
	}
	message := func(sort string, m proto.Message) {
		data, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
		add(sort, data, err)
	}
	for _, m := range s.Listeners().All() {
		message("listeners", m)
	}
	for _, m := range s.Routes().All() {
		message("routes", m)
	}
	for _, m := range s.Clusters().All() {
		message("clusters", m)
	}
	for _, m := range s.Endpoints().All() {
		message("endpoints", m)
	}
	for _, name := range s.Secrets().Names() {
		data, err := json.Marshal(map[string]string{"name": name})
		add("secrets", data, err)
	}
	return out, first
}
