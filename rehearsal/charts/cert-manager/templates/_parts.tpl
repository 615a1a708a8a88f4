{{- /* Labels of a component: (list $ NAME COMPONENT), such as (list $ "cert-manager" "controller"). */ -}}
{{- define "selector" -}}
app.kubernetes.io/name: {{ index . 1 }}
app.kubernetes.io/instance: {{ (first .).Release.Name }}
app.kubernetes.io/component: {{ index . 2 }}
{{- end }}
{{- define "labels" -}}
app: {{ index . 1 }}
{{ include "selector" . }}
{{- with first . }}
app.kubernetes.io/version: {{ .Chart.Version | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: cert-manager-{{ .Chart.Version }}
{{- end }}
{{- end }}
{{- define "pod" -}}
enableServiceLinks: false
priorityClassName: {{ .Values.global.priorityClassName }}
nodeSelector: {kubernetes.io/os: linux}
securityContext:
  runAsNonRoot: true
  seccompProfile: {type: RuntimeDefault}
{{- end }}
{{- define "container" -}}
env:
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
securityContext:
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
  readOnlyRootFilesystem: true
{{- end }}
