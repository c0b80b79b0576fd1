// SPDX-License-Identifier: Apache-2.0

package emissary

import (
	_ "embed"
	"testing"

	emissaryv3 "weir.dev/weir/control/api/getambassador/v3alpha1"
	"weir.dev/weir/control/fieldstest"
)

//go:embed fields.txt
var fields string

// TestFields holds fields.txt to the types of the kinds that are read, and to the keys
// of the Module called ambassador.
func TestFields(t *testing.T) {
	module := append(fieldstest.Spec(emissaryv3.IDs{}), fieldstest.Leaves(moduleConfig{}, "spec.config")...)
	for key := range unsupportedConfig() {
		module = append(module, "spec.config."+key)
	}
	messages := map[string][]string{
		"getambassador.io.Module":                     module,
		"getambassador.io.Listener":                   fieldstest.Spec(emissaryv3.ListenerSpec{}),
		"getambassador.io.Host":                       fieldstest.Spec(emissaryv3.HostSpec{}),
		"getambassador.io.Mapping":                    fieldstest.Spec(emissaryv3.MappingSpec{}),
		"getambassador.io.TCPMapping":                 fieldstest.Spec(emissaryv3.TCPMappingSpec{}),
		"getambassador.io.TLSContext":                 fieldstest.Spec(emissaryv3.TLSContextSpec{}),
		"getambassador.io.KubernetesServiceResolver":  fieldstest.Spec(emissaryv3.IDs{}),
		"getambassador.io.KubernetesEndpointResolver": fieldstest.Spec(emissaryv3.IDs{}),
	}
	messages["getambassador.io.AuthService"] = fieldstest.Spec(emissaryv3.AuthServiceSpec{})
	messages["getambassador.io.Module.tls"] = fieldstest.Leaves(tlsConfig{}, "spec.config")
	messages["getambassador.io.RateLimitService"] = fieldstest.Spec(emissaryv3.RateLimitServiceSpec{})
	messages["getambassador.io.TracingService"] = fieldstest.Spec(emissaryv3.TracingServiceSpec{})
	messages["getambassador.io.LogService"] = fieldstest.Spec(emissaryv3.LogServiceSpec{})
	for kind := range foreign() {
		messages["getambassador.io."+kind.Kind] = []string{"spec"}
	}
	fieldstest.Run(t, fields, messages)
}
