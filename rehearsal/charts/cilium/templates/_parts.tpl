{{- /* An option's text under its key in cilium-config, by the values of this release. */ -}}
{{- define "config" -}}
{{- with .Values }}
routing-mode: {{ .routingMode }}
tunnel-protocol: {{ .tunnelProtocol }}
auto-direct-node-routes: {{ .autoDirectNodeRoutes }}
{{- if eq .routingMode "native" }}
ipv4-native-routing-cidr: {{ .ipv4NativeRoutingCIDR }}
{{- end }}
ipam: {{ .ipam.mode }}
enable-ipv4-masquerade: {{ .enableIPv4Masquerade }}
enable-xt-socket-fallback: {{ .enableXTSocketFallback }}
enable-endpoint-routes: {{ .endpointRoutes.enabled }}
devices: {{ join " " .devices }}
cni-exclusive: {{ .cni.exclusive }}
enable-bpf-masquerade: {{ .bpf.masquerade }}
enable-host-legacy-routing: {{ .bpf.hostLegacyRouting }}
bpf-policy-map-max: {{ .bpf.policyMapMax }}
bpf-ct-global-tcp-max: {{ .bpf.ctTcpMax }}
bpf-ct-global-any-max: {{ .bpf.ctAnyMax }}
bpf-map-dynamic-size-ratio: {{ .bpf.mapDynamicSizeRatio }}
kube-proxy-replacement: {{ .kubeProxyReplacement }}
{{- with .kubeProxyReplacementHealthzBindAddr }}
kube-proxy-replacement-healthz-bind-address: {{ . }}
{{- end }}
bpf-lb-mode: {{ .loadBalancer.mode }}
bpf-lb-algorithm: {{ .loadBalancer.algorithm }}
bpf-lb-acceleration: {{ .loadBalancer.acceleration }}
{{- with .loadBalancer.dsrDispatch }}
bpf-lb-dsr-dispatch: {{ . }}
{{- end }}
{{- with .maglev.tableSize }}
bpf-lb-maglev-table-size: {{ . }}
{{- end }}
bpf-lb-sock: {{ .socketLB.enabled }}
bpf-lb-sock-hostns-only: {{ .socketLB.hostNamespaceOnly }}
enable-lb-ipam: {{ .enableLBIPAM }}
default-lb-service-ipam: {{ .defaultLBServiceIPAM }}
{{- with .l2announcements }}
{{- if .enabled }}
enable-l2-announcements: true
l2-announcements-lease-duration: {{ .leaseDuration }}
l2-announcements-renew-deadline: {{ .leaseRenewDeadline }}
l2-announcements-retry-period: {{ .leaseRetryPeriod }}
{{- end }}
{{- end }}
{{- if .bgpControlPlane.enabled }}
enable-bgp-control-plane: true
{{- end }}
{{- if .localRedirectPolicies.enabled }}
enable-local-redirect-policy: true
{{- end }}
{{- if .prometheus.enabled }}
prometheus-serve-addr: ":9962"
{{- end }}
{{- if .operator.prometheus.enabled }}
operator-prometheus-serve-addr: ":9963"
{{- end }}
enable-hubble: {{ .hubble.enabled }}
{{- if .hubble.enabled }}
hubble-listen-address: ":4244"
hubble-metrics-server: ":9965"
hubble-metrics: {{ join " " .hubble.metrics.enabled }}
enable-hubble-open-metrics: {{ .hubble.metrics.enableOpenMetrics }}
{{- end }}
enable-policy: {{ .policyEnforcementMode }}
enable-l7-proxy: {{ .l7Proxy }}
external-envoy-proxy: {{ .envoy.enabled }}
enable-bandwidth-manager: {{ .bandwidthManager.enabled }}
enable-bbr: {{ .bandwidthManager.bbr }}
{{- if .encryption.enabled }}
enable-{{ .encryption.type }}: true
encrypt-node: {{ .encryption.nodeEncryption }}
{{- end }}
{{- if .envoyConfig.enabled }}
enable-envoy-config: true
{{- end }}
cgroup-root: {{ .cgroup.hostRoot }}
{{- range $key, $value := .extraConfig }}
{{ $key }}: {{ $value }}
{{- end }}
{{- end }}
{{- end }}
{{- define "part" -}}
app.kubernetes.io/part-of: cilium
{{- end }}
{{- define "api server" -}}
- {name: KUBERNETES_SERVICE_HOST, value: {{ .Values.k8sServiceHost | quote }}}
- {name: KUBERNETES_SERVICE_PORT, value: {{ .Values.k8sServicePort | quote }}}
{{- end }}
{{- /* Never two pods with these labels on one node. */ -}}
{{- define "apart" -}}
podAntiAffinity:
  requiredDuringSchedulingIgnoredDuringExecution:
  - labelSelector:
      matchLabels: {{- toYaml . | nindent 8 }}
    topologyKey: kubernetes.io/hostname
{{- end }}
{{- /* A ServiceMonitor: (list $ NAME SELECTOR PORT LABELS). */ -}}
{{- define "monitor" }}
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: {{ index . 1 }}
  namespace: {{ (first .).Release.Namespace }}
  labels:
    {{- include "part" (first .) | nindent 4 }}
    app.kubernetes.io/name: {{ index . 1 }}
    {{- toYaml (last .) | nindent 4 }}
spec:
  namespaceSelector:
    matchNames: [{{ (first .).Release.Namespace }}]
  selector:
    matchLabels: {{- toYaml (index . 2) | nindent 6 }}
  endpoints:
  - {port: {{ index . 3 }}, interval: 10s, honorLabels: true, path: /metrics}
{{- end }}
{{- /* A dashboard's ConfigMap: (list $ NAME K8S_APP APP). */ -}}
{{- define "dashboard" }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ index . 1 }}
  namespace: {{ (first .).Release.Namespace }}
  labels:
    {{- include "part" (first .) | nindent 4 }}
    k8s-app: {{ index . 2 }}
    app.kubernetes.io/name: {{ last . }}
    grafana_dashboard: "1"
data:
  {{ index . 1 }}.json: "{}"
{{- end }}
{{- define "certificate job" -}}
template:
  metadata:
    labels: {k8s-app: hubble-generate-certs}
  spec:
    restartPolicy: OnFailure
    serviceAccountName: hubble-generate-certs
    securityContext:
      seccompProfile: {type: RuntimeDefault}
    containers:
    - name: certgen
      image: quay.io/cilium/certgen:v0.4.6
      command: [/usr/bin/cilium-certgen]
      securityContext:
        allowPrivilegeEscalation: false
        capabilities: {drop: [ALL]}
{{- end }}
