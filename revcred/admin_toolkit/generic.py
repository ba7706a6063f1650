"""Django's classes that are generic for the type checker but not at run time."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.contrib.auth import admin as auth_admin
from django.contrib.auth import forms as auth_forms
from django.core import paginator
from django.forms import models as form_models

if TYPE_CHECKING:
    # The type checker sees these with type arguments, which the classes do not take at run time.
    from revcred.models import User

    BaseModelAdmin = admin.options.BaseModelAdmin[Any]
    ModelAdmin = admin.ModelAdmin[Any]
    TabularInline = admin.TabularInline[Any, Any]
    ModelForm = forms.ModelForm[Any]
    ModelChoiceField = forms.ModelChoiceField[Any]
    ModelMultipleChoiceField = forms.ModelMultipleChoiceField[Any]
    ModelChoiceIterator = form_models.ModelChoiceIterator[Any]
    Page = paginator.Page[Any]
    Paginator = paginator.Paginator[Any]
    UserAdmin = auth_admin.UserAdmin[User]
    GroupAdmin = auth_admin.GroupAdmin
    NewUserForm = auth_forms.AdminUserCreationForm[User]
    UserForm = auth_forms.UserChangeForm[User]
else:
    BaseModelAdmin = admin.options.BaseModelAdmin
    ModelAdmin = admin.ModelAdmin
    TabularInline = admin.TabularInline
    ModelForm = forms.ModelForm
    ModelChoiceField = forms.ModelChoiceField
    ModelMultipleChoiceField = forms.ModelMultipleChoiceField
    ModelChoiceIterator = form_models.ModelChoiceIterator
    Page = paginator.Page
    Paginator = paginator.Paginator
    UserAdmin = auth_admin.UserAdmin
    GroupAdmin = auth_admin.GroupAdmin
    NewUserForm = auth_forms.AdminUserCreationForm
    UserForm = auth_forms.UserChangeForm
