{{/* The labels by which everything of this release is found. */}}
{{- define "headgate.labels" -}}
app.kubernetes.io/name: headgate
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "headgate.gateway" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: gateway
{{- end }}

{{/* The name of a model's engines, from (root, name). */}}
{{- define "headgate.engine.name" -}}
{{ .root.Release.Name }}-{{ .name }}
{{- end }}

{{- define "headgate.engine" -}}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: engine
headgate/model: {{ .name | quote }}
{{- end }}

{{/* What a model's scaling needs together; a value alone is checked by the schema. */}}
{{- define "headgate.check" -}}
{{- $s := .model.scaling -}}
{{- if has .name (list "gateway" "control") -}}{{ fail (printf "models.%s: the chart's own objects are called so; give the model another name" .name) }}{{- end -}}
{{- if ne $s.mode "none" -}}
{{- range list "min" "max" "target" "idle" -}}
{{- if not (hasKey $s .) -}}{{ fail (printf "models.%s.scaling.%s is missing; it is needed with mode: %s" $.name . $s.mode) }}{{- end -}}
{{- end -}}
{{- if gt (int $s.min) (int $s.max) -}}{{ fail (printf "models.%s.scaling.min is %d, more than max = %d" .name (int $s.min) (int $s.max)) }}{{- end -}}
{{- if and (eq (int $s.min) 0) (eq (int .model.hold) 0) -}}{{ fail (printf "models.%s.hold is missing or 0, but with scaling.min: 0 requests have to wait for a replica" .name) }}{{- end -}}
{{- end -}}
{{- end }}
