// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	corev1 "k8s.io/api/core/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// EnvoyGateway is the file that an install of Envoy Gateway is configured by. It is no
// object of a cluster; there it is in the ConfigMap envoy-gateway-config.
type EnvoyGateway struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`

	Gateway           *Install         `json:"gateway,omitempty"`
	Provider          *InstallProvider `json:"provider,omitempty"`
	Logging           *InstallLogging  `json:"logging,omitempty"`
	Admin             map[string]any   `json:"admin,omitempty"`
	Telemetry         map[string]any   `json:"telemetry,omitempty"`
	XDSServer         map[string]any   `json:"xdsServer,omitempty"`
	RateLimit         *LimitBackend    `json:"rateLimit,omitempty"`
	ExtensionManager  map[string]any   `json:"extensionManager,omitempty"`
	ExtensionManagers []map[string]any `json:"extensionManagers,omitempty"`
	ExtensionAPIs     *ExtensionAPIs   `json:"extensionApis,omitempty"`
	GatewayAPI        map[string]any   `json:"gatewayAPI,omitempty"`
	RuntimeFlags      map[string]any   `json:"runtimeFlags,omitempty"`
	EnvoyProxy        *EnvoyProxySpec  `json:"envoyProxy,omitempty"`
}

// Install names the GatewayClasses that are its own.
type Install struct {
	ControllerName string `json:"controllerName,omitempty"`
}

// InstallProvider is where objects come from. Type is Kubernetes or Custom; until v0.5 File.
type InstallProvider struct {
	Type       string         `json:"type"`
	Kubernetes map[string]any `json:"kubernetes,omitempty"`
	Custom     map[string]any `json:"custom,omitempty"`
}

// InstallLogging is how much the control plane tells, by component.
type InstallLogging struct {
	Level    map[string]string `json:"level,omitempty"`
	Encoder  *string           `json:"encoder,omitempty"`
	Encoding *string           `json:"encoding,omitempty"`
}

// LimitBackend is where limits are counted.
type LimitBackend struct {
	Backend    *LimitStore       `json:"backend,omitempty"`
	Timeout    *gwapiv1.Duration `json:"timeout,omitempty"`
	FailClosed bool              `json:"failClosed,omitempty"`
	Telemetry  map[string]any    `json:"telemetry,omitempty"`
}

// LimitStore is a store of counters. Type is Redis.
type LimitStore struct {
	Type  string      `json:"type"`
	Redis *LimitRedis `json:"redis,omitempty"`
}

// LimitRedis says where Redis is.
type LimitRedis struct {
	URL    *string        `json:"url,omitempty"`
	URLRef *LimitRedisURL `json:"urlRef,omitempty"`
	TLS    *LimitRedisTLS `json:"tls,omitempty"`
}

// LimitRedisURL says which key of a Secret has the URL.
type LimitRedisURL struct {
	SecretKeyRef *corev1.SecretKeySelector `json:"secretKeyRef,omitempty"`
}

// LimitRedisTLS has Redis spoken to in TLS, and says which certificate it is shown.
type LimitRedisTLS struct {
	CertificateRef *gwapiv1.SecretObjectReference `json:"certificateRef,omitempty"`
}

// ExtensionAPIs turn kinds of objects on.
type ExtensionAPIs struct {
	EnableEnvoyPatchPolicy bool  `json:"enableEnvoyPatchPolicy,omitempty"`
	EnableBackend          bool  `json:"enableBackend,omitempty"`
	DisableLua             *bool `json:"disableLua,omitempty"`
	EnableLua              bool  `json:"enableLua,omitempty"`
	EnableSDSSecretRef     bool  `json:"enableSDSSecretRef,omitempty"`
}
