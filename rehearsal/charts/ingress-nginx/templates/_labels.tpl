{{- /* Both take (list $ COMPONENT); an empty component leaves its label out. */ -}}
{{- define "selector" -}}
app.kubernetes.io/name: ingress-nginx
app.kubernetes.io/instance: {{ (first .).Release.Name }}
{{- with last . }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}
{{- define "labels" -}}
{{- with first . -}}
helm.sh/chart: ingress-nginx-{{ .Chart.Version }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: ingress-nginx
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}
{{ include "selector" . }}
{{- end }}
