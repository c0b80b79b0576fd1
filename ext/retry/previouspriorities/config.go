// SPDX-License-Identifier: Apache-2.0

// Package previouspriorities is the retry plugin that sends retries to other priorities
// than those which were tried (envoy.retry_priorities.previous_priorities).
package previouspriorities

import (
	_ "embed"
	"fmt"

	previousprioritiesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's name of the extension.
const Name = "envoy.retry_priorities.previous_priorities"

//go:embed fields.txt
var fields string

// Extension describes the predicate.
func Extension() extension.Plugin[upstream.PriorityOverride] {
	return extension.Plugin[upstream.PriorityOverride]{
		Name: Name, Config: &previousprioritiesv3.PreviousPrioritiesConfig{}, Fields: ledger.MustParse(fields),
		New: func(cfg proto.Message) (upstream.PriorityOverride, error) {
			return New(cfg.(*previousprioritiesv3.PreviousPrioritiesConfig))
		},
	}
}

// New compiles the plugin.
func New(cfg *previousprioritiesv3.PreviousPrioritiesConfig) (upstream.PriorityOverride, error) {
	if n := cfg.GetUpdateFrequency(); n <= 0 {
		return nil, fmt.Errorf("update_frequency: %d is not greater than 0: after how many tries is the load to change?", n)
	}
	return every(cfg.GetUpdateFrequency()), nil
}
