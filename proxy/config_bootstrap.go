// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"fmt"

	internallistenerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/bootstrap/internal_listener/v3"

	"weir.dev/weir/proxy/extension"
)

// bootstrapExtensions refuses the extensions of the bootstrap, of which there are none,
// but for one that does nothing by itself: it makes internal listeners possible, and a
// listener or an address that is internal is refused where it stands. Every file that
// Istio writes has it.
func (p *Proxy) bootstrapExtensions() error {
	possible := extension.ConfigName(&internallistenerv3.InternalListener{})
	for i, e := range p.opts.Bootstrap.GetBootstrapExtensions() {
		name := extension.Name(e.GetTypedConfig())
		if name != possible {
			return fmt.Errorf("bootstrap_extensions[%d].typed_config: %s: there is no such extension of the bootstrap: remove it", i, name)
		}
		p.log("config").Warn("an extension of the bootstrap has no effect: there are no internal listeners, and one that a configuration has is refused",
			"field", fmt.Sprintf("bootstrap_extensions[%d]", i), "extension", name)
	}
	return nil
}
