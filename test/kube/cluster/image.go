// SPDX-License-Identifier: Apache-2.0

package cluster

import "weir.dev/weir/test/kube/kubelet"

// Images makes an image of each program, of its name and with the program for its command, and of those of the
// conformance suite by the names that the suite has for them.
func Images(programs map[string]string) map[string]kubelet.Image {
	images := map[string]kubelet.Image{}
	for name, file := range programs {
		path := "/usr/local/bin/" + name
		images[name] = kubelet.Image{Files: map[string]string{path: file}, Entrypoint: []string{path}}
	}
	for name, program := range map[string]string{
		"registry.k8s.io/gateway-api/echo-basic": "echo-basic",
		"registry.k8s.io/coredns/coredns":        "coredns",
	} {
		if image, ok := images[program]; ok {
			images[name] = image
		}
	}
	return images
}
